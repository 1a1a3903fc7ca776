"""The robot: the hand as links, revolute joints and masses, written as URDF and MJCF."""
