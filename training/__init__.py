"""Training: the loop around the model, its run directory, its checkpoints and what it tells people."""
