"""The worker process: one loaded release, and the agent's handle on it."""
