"""The kinds of tokenizer that can be trained, one file each. Equal texts in equal order give equal files."""
