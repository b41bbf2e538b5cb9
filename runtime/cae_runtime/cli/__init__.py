"""The command `cae-run`: options, and what they call."""
