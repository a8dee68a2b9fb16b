"""What the operator wants of this device: one schema, read from layers."""
