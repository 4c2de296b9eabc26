"""What an image shows: names of classes, labels as integers, and the lists that come beside validation images."""
