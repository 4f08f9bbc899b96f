"""Where results go: the run directory, atomic files, the metadata inside a model file; and the machine."""
