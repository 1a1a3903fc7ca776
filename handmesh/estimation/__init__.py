"""What is done with a trained net: images in, meshes and joint angles out."""
