"""Deduplication: documents that say the same, exactly or nearly."""
