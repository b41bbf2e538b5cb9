"""Fits a network to the noise of one camera, from frames of static scenes (`--burst`)."""
