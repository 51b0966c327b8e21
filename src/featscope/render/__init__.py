"""Drawing: feature maps and heat maps as PNG pictures. Needs no torch."""
