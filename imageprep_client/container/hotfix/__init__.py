"""Packages that are installed into images, which become new ones."""
