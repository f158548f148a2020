"""The servers of a repository, and how each is reached."""
