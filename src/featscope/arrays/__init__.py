"""Functions on NumPy arrays that turn feature maps and boxes into numbers to draw."""
