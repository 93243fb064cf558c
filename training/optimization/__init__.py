"""What moves the weights: optimizers, schedules, averages, and how long a run is."""
