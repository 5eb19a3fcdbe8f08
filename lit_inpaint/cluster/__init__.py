"""Several processes: launcher, devices, agreement on the run directory, signals, SLURM, watchdog."""
