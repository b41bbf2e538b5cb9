"""Files cleaned by the workers of a Ray cluster."""
