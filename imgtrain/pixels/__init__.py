"""Decode image files to uint8 pixels: the decoder, its worker processes, the pixel cache, and exact leaks."""
