"""The contract between generator and trainer: hand model, camera, sample, shards, random streams, errors (numpy only)."""
