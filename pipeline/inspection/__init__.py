"""Looking into a dataset: documents in lines that people read, and the way back to their source."""
