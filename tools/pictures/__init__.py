"""The parts of tools/compare_pictures.py: the models and images, how others draw a map, and what is measured."""
