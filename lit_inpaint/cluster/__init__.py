"""Processes of a run: how they were started, what they agree on, signals, SLURM and the watchdog."""
