"""``image-prepare service``: service containers on this node."""
