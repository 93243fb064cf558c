"""Ready scripts that start a training run on several GPUs."""
