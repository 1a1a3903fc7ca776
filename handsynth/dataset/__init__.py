"""A dataset on disk: shards made by many workers, resumed, verified, replayed, described."""
