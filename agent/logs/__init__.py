"""Structured logs of the agent and its children."""
