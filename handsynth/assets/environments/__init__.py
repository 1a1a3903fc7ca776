"""Light that was measured: panoramas of the light around a place, as a folder of the user's holds them."""
