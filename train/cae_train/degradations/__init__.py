"""Degradations, which turn clean patches into degraded ones."""
