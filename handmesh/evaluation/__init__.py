"""How good a net is: numbers by view, pose and visibility, beside those of a hand that never moves; FreiHAND's challenge."""
