"""Filters, one file each: a document passes, or is dropped for one named reason. `chain` builds the configured ones."""
