"""Works on files with the workers of a Ray cluster (`--engine ray`)."""
