"""Numbers and pictures become one HTML file that needs no network and no TensorFlow."""
