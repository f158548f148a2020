"""Other programs, one package each."""
