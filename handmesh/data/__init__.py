"""From shards to batches: reading, shuffling, cropping and augmenting."""
