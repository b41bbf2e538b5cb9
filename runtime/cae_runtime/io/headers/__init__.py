"""The headers of image files: what they say about the pixels, one module per format."""
