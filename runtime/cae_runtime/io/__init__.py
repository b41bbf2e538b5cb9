"""Image files: formats, headers, pixels, metadata."""
