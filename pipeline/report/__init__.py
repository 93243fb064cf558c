"""The report: a page for people about what became of their text."""
