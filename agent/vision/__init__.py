"""What is seen over frames: motion, tracks, zones, events. Pure; numpy only in what the agent runs."""
