"""``image-prepare machine``: images of machines."""
