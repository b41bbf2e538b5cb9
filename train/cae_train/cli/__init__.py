"""The command `cae-train`."""
