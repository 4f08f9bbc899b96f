"""From image files to uint8 pixels: the only decoder, its worker processes, the packed cache, and exact leaks."""
