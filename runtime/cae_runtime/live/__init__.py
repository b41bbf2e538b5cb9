"""Cameras: capture, clean, show, record."""
