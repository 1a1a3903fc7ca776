"""Things that hands hold: procedural solids, meshes of the user, and which pose holds which of them how."""
