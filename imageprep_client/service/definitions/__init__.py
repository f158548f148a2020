"""Definitions of containers: podman's command lines and files of other tools.

They are read as services of a declaration, and written from these.
"""
