"""What is on disk: which images, their labels, their splits and their pixels."""
