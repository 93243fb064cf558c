"""What a dataset is in numbers: accounts that close, lengths, tokens, scripts."""
