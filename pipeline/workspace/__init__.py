"""The work of a run on disk: places, parts, the journal, and its like at a URL."""
