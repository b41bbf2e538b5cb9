"""The window for pictures: original and cleaned, before anything is saved."""
