"""The workstation: making, signing and publishing releases."""
