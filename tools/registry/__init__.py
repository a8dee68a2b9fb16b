"""The publisher's side of the registry."""
