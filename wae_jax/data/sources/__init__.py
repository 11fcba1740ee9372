"""Sources: random access to the encoded images and labels of a data set, whoever prepared it."""
