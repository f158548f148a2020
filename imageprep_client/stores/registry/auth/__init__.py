"""Authentication: credentials, challenges and tokens."""
