"""Losses, the optimizer, averaged weights, early stopping, the rounding of int8."""
