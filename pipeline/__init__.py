"""The data half: raw text to token shards by tokenizer, plan, map and publish. No torch."""
