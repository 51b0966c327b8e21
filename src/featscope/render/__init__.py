"""Draw feature maps and heat maps as PNG pictures, without torch."""
