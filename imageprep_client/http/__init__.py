"""HTTP: connections, proxies, limits."""
