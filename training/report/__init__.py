"""The report of a run: one page, made from the files of its directory alone."""
