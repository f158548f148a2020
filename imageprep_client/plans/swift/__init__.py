"""Plans that are containers of an object store."""
