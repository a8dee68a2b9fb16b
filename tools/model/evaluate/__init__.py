"""How good a model is, through the code that the device runs."""
