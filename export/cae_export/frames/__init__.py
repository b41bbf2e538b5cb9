"""Files that take whole frames of any size, for other programs: chaiNNer, VapourSynth, OpenCV."""
