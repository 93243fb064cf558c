"""Mapping: one task of input becomes one part, cleaned, filtered, hashed and encoded."""
