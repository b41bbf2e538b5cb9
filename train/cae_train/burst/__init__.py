"""A model for one camera: from frames of what does not move to a network that is fitted to the noise in them."""
