"""The robot: the hand as links, hinges and masses, written as URDF and MJCF."""
