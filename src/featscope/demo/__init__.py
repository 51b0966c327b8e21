"""The built-in detector with its scenes and weights, to try featscope with no framework except torch."""
