"""Publishing: decide over all parts, write the shards, replace the manifest last."""
