"""Discovery: the versioned tags of images, and whether they exist."""
