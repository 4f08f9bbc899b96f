"""The network: built from the configuration, measured, saved and loaded. Imports TensorFlow."""
