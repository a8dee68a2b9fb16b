"""What keeps the agent honest towards systemd and the local operator."""
