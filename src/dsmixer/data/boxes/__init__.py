"""Images with objects: COCO and Pascal VOC, checks of a whole set, transforms, batches."""
