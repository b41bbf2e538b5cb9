"""A whole video file: cleaned frame by frame, and copied from and to a store."""
