"""What users write for heat: environments, roles, parameters."""
