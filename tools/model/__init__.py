"""From a float model to one that earned its INT8."""
