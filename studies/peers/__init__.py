"""DSM beside timm's networks of its size: same recipe, data, epochs, head and start."""
