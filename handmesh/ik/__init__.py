"""IK nets (section 3.3): from keypoints to joint angles and shape; their losses and runs. `handmesh.training` trains them."""
