"""What a model takes and gives: its input specification, images made into batches, outputs with names."""
