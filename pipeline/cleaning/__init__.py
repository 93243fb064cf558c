"""Cleaning: steps on UTF-8 bytes, run on whole batches."""
