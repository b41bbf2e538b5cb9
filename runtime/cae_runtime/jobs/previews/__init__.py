"""Previews of cleaning: the noise of pictures (`--analyze`), and a before-and-after sheet (`--sheet`)."""
