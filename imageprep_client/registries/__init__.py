"""Keeping a tree or a registry whole and small: verify and prune."""
