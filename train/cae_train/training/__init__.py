"""A training run: preparation, the loop, and the run folder."""
