"""ONNX graphs: made from networks, and their int8 and fp16 versions."""
