"""One module per command: what each does, one paragraph per package. Prints nothing."""
