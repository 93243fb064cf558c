"""Readers of raw text, one file each. `registry` knows which reads what."""
