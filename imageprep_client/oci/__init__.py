"""The vocabulary of the OCI specifications: values and rules, no I/O."""
