"""From files to typed batches: readers, one guarded decode, transforms, splits, counted randomness."""
