"""Pictures of patches for people to look at."""
