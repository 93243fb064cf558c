"""What a model of a given shape costs, counted from its configuration alone: parameters, operations, memory."""

from __future__ import annotations

from model.config import ModelConfig

STATE_BYTES = 16  # of a trained weight in float32: itself, its gradient, Adam's two moments
COMPUTE_OPTIMAL = 20  # tokens a parameter (Hoffmann et al., 2022, arXiv 2203.15556)


def block_matrices(config: ModelConfig) -> int:
    """Weights in the matrices of all blocks."""
    queries = config.num_attention_heads * config.head_size
    keys = config.num_key_value_heads * config.head_size
    attention = config.hidden_size * (2 * queries + 2 * keys)
    return config.num_hidden_layers * (attention + 3 * config.hidden_size * config.feed_forward_size)


def parameters(config: ModelConfig, vocab_size: int) -> int:
    """Weights of a decoder, the padding of its vocabulary left out."""
    norms = (2 * config.num_hidden_layers + 1) * config.hidden_size
    if config.qk_norm:
        norms += 2 * config.num_hidden_layers * config.head_size
    embeddings = (1 if config.tie_word_embeddings else 2) * vocab_size * config.hidden_size
    return block_matrices(config) + norms + embeddings


def flops_per_token(config: ModelConfig, vocab_size: int, mean_attended_length: float) -> float:
    """Floating-point operations of forward and backward for one token that attends to so many tokens on average.

    6 x matmul parameters (the head counts, a lookup does not) + 12 x layers x width x mean attended length
    (Chowdhery et al., 2022, arXiv 2204.02311, with the part actually attended to). For whole rows of T tokens the mean
    is (T + 1) / 2.
    """
    matmul = block_matrices(config) + vocab_size * config.hidden_size
    width = config.num_attention_heads * config.head_size
    return 6.0 * matmul + 12.0 * config.num_hidden_layers * width * mean_attended_length


def state_bytes(config: ModelConfig, vocab_size: int) -> int:
    """Bytes of weights, gradients and Adam's moments, all in float32."""
    return STATE_BYTES * parameters(config, vocab_size)


def activation_bytes(config: ModelConfig, vocab_size: int, tokens: int) -> int:
    """Bytes that a forward pass over so many tokens keeps for its backward pass, matrix products in 2-byte numbers.

    An estimate from the shapes: what each matmul, norm, rotation and activation reads, and one set of logits.
    """
    width, inner = config.hidden_size, config.feed_forward_size
    queries = config.num_attention_heads * config.head_size
    keys = config.num_key_value_heads * config.head_size
    stream = 2 * (4 + 2) * width  # each half: the stream in float32 and its normalised copy
    attention = 2 * (2 * queries + 2 * keys)  # rotated queries, keys, values, and what they were mixed to
    feed_forward = 2 * 4 * inner  # gate, its activation, up, their product
    logits = 2 * vocab_size
    return tokens * (config.num_hidden_layers * (stream + attention + feed_forward) + logits)
