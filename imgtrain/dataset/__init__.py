"""The data set: images, labels and splits, from folders or a split file."""
