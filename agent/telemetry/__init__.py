"""What the device measures of itself."""
