"""How training images are changed: first numbers (`sample`), then pixels (`warp`), both pure functions."""
