"""One run on disk: its directory, checkpoints, initial weights, final evaluation and records of each launch."""
