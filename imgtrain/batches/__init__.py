"""Batches by number, and the featurewise statistics of the training images."""
