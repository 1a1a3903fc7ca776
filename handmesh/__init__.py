"""handmesh: from an image of a hand to its mesh and joint angles. The trainer follows; see README.md."""
