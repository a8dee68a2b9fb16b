"""Signed releases: references, manifests, trust, transfer and the device's store."""
