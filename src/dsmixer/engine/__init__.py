"""The one training loop, its state and checkpoints, and what a run leaves on disk."""
