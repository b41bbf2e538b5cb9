"""Training data made on a device: pictures in its memory, and crops and degradations of many patches at once."""
