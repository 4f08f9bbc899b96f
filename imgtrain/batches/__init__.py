"""Batches indexed by epoch and step, and featurewise statistics of the training images."""
