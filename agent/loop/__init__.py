"""The frame loop: frames to workers, results to sinks."""
