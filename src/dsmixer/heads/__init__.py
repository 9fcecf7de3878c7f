"""From features to raw predictions: what stands on a backbone, and is exported with it."""
