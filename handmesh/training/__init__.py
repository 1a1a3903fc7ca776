"""Training the mesh nets: `spec` says how, `loop` does it, `checkpoint` keeps it, `record` shows it."""
