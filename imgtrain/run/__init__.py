"""The run directory, atomic writes, the metadata inside model files, and the machine's memory."""
