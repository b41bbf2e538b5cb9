"""Whether a video file is whole: cut off, damaged in between, or with frames that its tables hide."""
