"""Code that the three packages share. It imports only the standard library."""
