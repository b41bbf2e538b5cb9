"""Models: providers, sessions, and patches of an image."""
