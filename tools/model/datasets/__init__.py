"""Labelled and unlabelled pictures, in the forms that people have them in."""
