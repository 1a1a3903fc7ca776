"""From meshes and datasets of hands to joint angles: files in, JSON, CSV, fitted meshes and plots out."""
