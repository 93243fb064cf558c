"""Talking with a model at a terminal."""
