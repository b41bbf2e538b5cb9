"""Files of other inference engines: one module for each engine converts a proved ONNX file and runs the result."""
