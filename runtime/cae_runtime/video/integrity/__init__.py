"""Checks whether a video file is complete: not truncated, without damaged parts or frames that its tables hide."""
