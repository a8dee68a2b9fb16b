"""Where INT8 goes wrong, layer by layer."""
