"""What the three packages share. It imports the standard library alone, and none of them."""
