"""Copying images between stores: one verb for every pair of stores."""
