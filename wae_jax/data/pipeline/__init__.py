"""From a source and a transform to batches that follow from the seed and their number alone."""
