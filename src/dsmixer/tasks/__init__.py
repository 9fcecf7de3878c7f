"""What one step means and what is measured; the engine knows only `base`."""
