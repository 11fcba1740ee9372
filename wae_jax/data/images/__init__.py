"""Images on the host: decoding, crops and resizes, augmentation; NumPy arrays in and out."""
