"""Fine-tuning: where it starts from, which layers learn how fast, how a classifier is measured and calibrated."""
