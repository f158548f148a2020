"""Reading the image of a disk: format, partitions, volumes, files."""
