"""Images of machines: the root file systems of system containers."""
