"""The built-in detector, its scenes and its weights: featscope without any framework but torch."""
