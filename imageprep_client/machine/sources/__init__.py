"""Sources of machines: fetched into quarantine, and verified."""
