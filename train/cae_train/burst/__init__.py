"""A model for one camera: from frames of static scenes to a network that is fitted to their noise."""
