"""The headers of image files that consist of nested boxes: AVIF and HEIC, JPEG 2000."""
