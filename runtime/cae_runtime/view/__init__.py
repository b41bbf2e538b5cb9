"""The window for pictures (`--view`): shows original and cleaned, and saves on request."""
