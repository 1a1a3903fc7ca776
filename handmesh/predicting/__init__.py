"""From pictures to meshes: files in, a trained net, drawings, meshes and JSON out."""
