"""INT8 within a budget."""
