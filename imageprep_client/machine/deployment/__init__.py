"""The machines of a whole deployment, by its inventory."""
