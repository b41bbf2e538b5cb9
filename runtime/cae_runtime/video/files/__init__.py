"""Cleans whole video files, on disk or in a store."""
