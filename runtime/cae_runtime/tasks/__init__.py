"""A class for each task of a model, for Python programs."""
