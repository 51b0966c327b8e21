"""NumPy in, NumPy out: what turns feature maps and boxes into numbers worth drawing."""
