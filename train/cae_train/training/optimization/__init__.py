"""What is minimized, and how: losses, the optimizer, averaged weights, early stopping, the rounding of int8."""
