"""From a mesh to motion: 23 degrees of freedom, and the fits that find them."""
