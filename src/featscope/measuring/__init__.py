"""Measure where the cells of a network's maps lie on the input, with the network's weights."""
