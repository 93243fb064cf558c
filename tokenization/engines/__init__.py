"""Engines that encode many documents at once. `reference` defines the truth; a fast one is audited against it."""
