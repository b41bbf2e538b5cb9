"""Noise that is fainter than what models know: measured, scaled up for the model, scaled back."""
