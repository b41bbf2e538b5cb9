"""Untrusted model files: what is refused before onnxruntime opens them, and what its messages mean."""
