"""What an image file says of its pixels, one module per format."""
