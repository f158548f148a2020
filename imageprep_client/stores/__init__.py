"""Stores of images: registries, trees, layouts, memory; one interface."""
