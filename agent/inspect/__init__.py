"""Model files, looked at in a process of their own before any worker loads them."""
