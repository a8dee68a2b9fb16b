"""How fast a model is, one process a cell."""
