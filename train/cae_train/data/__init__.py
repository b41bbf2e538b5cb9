"""Data sets, and pairs of patches of them."""
