"""The outside world, tamed: hands, skins, pose banks and backgrounds as plain arrays."""
