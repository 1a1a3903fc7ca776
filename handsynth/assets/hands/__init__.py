"""Licensed hand models, read once into plain files."""
