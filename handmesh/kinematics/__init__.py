"""From a mesh to motion: 23 degrees of freedom, the fit that finds them, and what robots and papers ask of them."""
