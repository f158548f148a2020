"""Serving an image-serve tree: Apache's virtual host, and a server."""
