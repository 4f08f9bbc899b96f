"""What is wrong with the data and with what is asked of it, before anything is trained: `imgtrain check`."""
