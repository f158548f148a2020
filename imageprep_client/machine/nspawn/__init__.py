"""Settings of systemd-nspawn, written from a declaration.

`declaration` reads the declaration, `files` turns it into the ``.nspawn``
file and the drop-in of the unit, and `keys` knows the keys and values that
each version of systemd accepts.
"""
