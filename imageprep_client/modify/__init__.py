"""Changing images in local storage."""
