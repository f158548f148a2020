"""Where images are: registries, trees, layouts, memory - one interface."""
