"""The mesh nets: one image of a hand in, keypoints and vertices in lixels out. `registry` knows them by name."""
