"""``image-prepare baremetal``: images of disks, kernels and ramdisks."""
