"""Augmentation of training images, as pure functions: first sample parameters, then apply them to pixels."""
