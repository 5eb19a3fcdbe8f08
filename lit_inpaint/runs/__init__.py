"""One run on disk: its directory, checkpoints, initial weights, Trainer, final evaluation and launch records."""
