"""Predict, calibrate, score and compare; scores are computed from stored predictions."""
