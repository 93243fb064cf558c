"""The dry run: a small sample mapped for real, and what the whole would come to."""
