"""A manifest nobody has to type."""
