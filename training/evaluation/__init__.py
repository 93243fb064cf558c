"""Validation, and what is decided by it."""
