"""The files and parameters that a preparation writes."""
