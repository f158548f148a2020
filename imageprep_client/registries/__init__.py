"""List, show, delete, verify and prune: over whole registries and trees."""
