"""The host that the client runs on: files, locks, processes."""
