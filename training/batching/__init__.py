"""From shards to the tensors of each step."""
