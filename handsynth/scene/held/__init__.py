"""What the hand holds: its surface before the camera and its texture."""
