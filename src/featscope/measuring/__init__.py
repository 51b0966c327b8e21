"""Where the cells of a network's maps look, measured on its weights."""
