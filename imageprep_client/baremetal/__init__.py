"""Bare-metal images: disks, and the kernels and ramdisks taken from them."""
