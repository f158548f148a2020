"""The OpenStack cloud: the connection to it, and its errors."""
