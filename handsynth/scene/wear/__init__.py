"""What people wear on forearm and hand: small procedural meshes with textures of their own, and layers on the skin's texture."""
