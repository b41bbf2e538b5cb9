"""Metadata of files that consist of boxes: AVIF, HEIC and JPEG 2000."""
