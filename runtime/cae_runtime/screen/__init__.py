"""Code that both windows share: the OpenCV window, keys, and drawing over pictures."""
