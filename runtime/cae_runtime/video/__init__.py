"""Video files: read, clean frame by frame, write."""
