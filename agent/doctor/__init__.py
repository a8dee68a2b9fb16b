"""``lookout doctor``: looks at all that a device needs, and says of each what was found and what to do."""
