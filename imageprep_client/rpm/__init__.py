"""RPM files and versions."""
