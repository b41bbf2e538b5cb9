"""Makes training data on a GPU: pictures in its memory, and crops and degradations of many patches at once."""
