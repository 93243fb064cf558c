"""Names of what stands beside the shards of a dataset."""

from __future__ import annotations

STATS = "stats.json"
QUARANTINE, REJECTED, DUPLICATES, REPORT = "quarantine", "rejected", "duplicates", "report"
"""Directories: records that could not be read, rejected documents, clusters of duplicates, the page for people."""
ROWS, CLUSTERS, PAGE = "records.jsonl", "clusters.jsonl", "index.html"
"""Files in them."""
