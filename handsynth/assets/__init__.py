"""External assets as plain arrays: hands, skins, pose banks, backgrounds; their manifest; reading them without running code."""
