"""The contract between the halves: token shards on disk, their manifest, the order of samples and packing. No torch."""
