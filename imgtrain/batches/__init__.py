"""Batches by epoch and step, and the featurewise statistics of the training images."""
