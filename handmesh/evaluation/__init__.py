"""How good a net is: numbers by view, pose and visibility, beside those of a constant baseline; FreiHAND's challenge."""
