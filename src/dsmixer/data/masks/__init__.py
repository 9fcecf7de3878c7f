"""Images with a class for every pixel: files, folders, checks, transforms, batches."""
