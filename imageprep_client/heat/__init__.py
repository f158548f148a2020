"""The input that users write for heat: environments, roles, parameters."""
