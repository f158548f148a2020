"""Containers as podman's command line, and the files of other tools, have
them: read as services of a declaration, and rendered from those.
"""
