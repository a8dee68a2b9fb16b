"""The one way to start a child, and what the agent and its children share: channel, ring, messages."""
