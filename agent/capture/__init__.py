"""The capture process: cameras to frames in shared memory."""
