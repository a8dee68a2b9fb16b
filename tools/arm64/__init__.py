"""64-bit ARM without an ARM machine: the tests under emulation, and the container image."""
