"""Operating the device: configuration that is changed, applied, watched, and kept or undone."""
