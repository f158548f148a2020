"""Signature policies: which images may be copied, and by which keys.

containers-policy.json(5), containers-registries.d(5) and
containers-signature(5) describe the files and formats.
"""
