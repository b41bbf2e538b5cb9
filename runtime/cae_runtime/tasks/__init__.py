"""What models are made for, as classes that Python programs use."""
