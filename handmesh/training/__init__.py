"""Training, from data to a run folder: `loop` for mesh nets, `ik_loop` for IK nets; `checkpoint` and `record` serve both."""
