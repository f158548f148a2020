"""Lists of a registry: tags, referrers, repositories."""
