"""One module per command, composed of the other packages. Prints nothing."""
