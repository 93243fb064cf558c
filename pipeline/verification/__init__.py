"""Check every byte of a dataset, compare documents with their sources, rebuild what is damaged."""
