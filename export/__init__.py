"""Models for other programs: GGUF files that llama.cpp and what is built on it read."""
