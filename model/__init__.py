"""The networks: a decoder with Llama's (Qwen2's, Qwen3's) tensor names, its KV cache and its directory on disk."""
