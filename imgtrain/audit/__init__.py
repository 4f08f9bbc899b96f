"""`imgtrain check`: find problems in data and configuration before training."""
