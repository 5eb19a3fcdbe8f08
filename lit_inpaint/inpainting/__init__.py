"""Use a trained network: fill the holes of images of any size, kind and number."""
