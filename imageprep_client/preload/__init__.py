"""Preloading the nodes of an inventory with the images that they need."""
