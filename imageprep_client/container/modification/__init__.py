"""Images that are changed before a preparation stores them."""
