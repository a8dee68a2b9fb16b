"""The common road, from a float model to a signed release."""
