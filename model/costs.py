"""What a model of a given shape costs, counted from its configuration alone: parameters, operations, memory."""

from __future__ import annotations

from model.config import ModelConfig

STATE_BYTES = 16  # of a trained weight in float32: itself, its gradient, Adam's two moments
COMPUTE_OPTIMAL = 20  # tokens a parameter (Hoffmann et al., 2022, arXiv 2203.15556)


def block_matrices(config: ModelConfig) -> int:
    """Weights in the matrices of all blocks."""
    queries = config.num_attention_heads * config.head_size
    keys = config.key_value_heads * config.head_size
    attention = config.hidden_size * (2 * queries + 2 * keys)
    return config.num_hidden_layers * (attention + _products(config) * config.hidden_size * config.feed_forward_size)


def _products(config: ModelConfig) -> int:
    """Matrices of a feed-forward layer: two, and a third for its gate."""
    return 2 if config.architecture == "bert" else 3


def parameters(config: ModelConfig, vocab_size: int) -> int:
    """Weights of a model, the padding of its vocabulary left out; an encoder's with the head of masked tokens."""
    width, layers = config.hidden_size, config.num_hidden_layers
    if config.architecture == "bert":
        biases = layers * (4 * width + config.feed_forward_size + width)
        around = (config.max_position_embeddings + config.type_vocab_size) * width + (width + 1) * width + vocab_size
        vectors = biases + (2 * layers + 2) * 2 * width + around
    elif config.architecture == "modernbert":
        vectors = (2 * layers + 2) * width + width * width + vocab_size  # the first block has one norm
    else:
        vectors = (2 * layers + 1) * width
        if config.qk_norm:
            vectors += 2 * layers * config.head_size
        if config.qkv_bias:
            vectors += layers * (config.num_attention_heads + 2 * config.key_value_heads) * config.head_size
    embeddings = (1 if config.tie_word_embeddings else 2) * vocab_size * width
    return block_matrices(config) + vectors + embeddings


def attended_locally(attended: float, window: int) -> float:
    """Tokens that one sees on average in a piece of `attended` tokens, itself included, up to `window` to each side."""
    if attended <= window + 1:
        return attended
    return 2 * window + 1 - window * (window + 1) / attended  # pieces end: tokens near a border see fewer


def flops_per_token(
    config: ModelConfig, vocab_size: int, mean_attended_length: float, head_share: float = 1.0
) -> float:
    """Floating-point operations of forward and backward for one token that attends to so many tokens on average.

    6 x matmul parameters (the head counts, a lookup does not) + 12 x layers x width x mean attended length
    (Chowdhery et al., 2022, arXiv 2204.02311, with the part actually attended to). For a decoder's whole rows of T
    tokens the mean is (T + 1) / 2, for an encoder's T; local layers are counted with what they see of it. The head
    counts at `head_share` of the positions, and so does what an encoder's last block does after its attention.
    """
    head = vocab_size * config.hidden_size + (config.hidden_size**2 if config.is_encoder else 0)
    local = sum(config.is_local(layer) for layer in range(config.num_hidden_layers))
    attended = (config.num_hidden_layers - local) * mean_attended_length
    attended += local * attended_locally(mean_attended_length, config.window)
    width = config.num_attention_heads * config.head_size
    after = config.hidden_size * (width + _products(config) * config.feed_forward_size) if config.is_encoder else 0
    matrices = block_matrices(config) - (1 - head_share) * after + head_share * head
    return 6.0 * matrices + 12.0 * width * attended


def state_bytes(config: ModelConfig, vocab_size: int) -> int:
    """Bytes of weights, gradients and Adam's moments, all in float32."""
    return STATE_BYTES * parameters(config, vocab_size)


def activation_bytes(config: ModelConfig, vocab_size: int, tokens: int, head_share: float = 1.0) -> int:
    """Bytes that a forward pass over so many tokens keeps for its backward pass, matrix products in 2-byte numbers.

    An estimate from the shapes: what each matmul, norm, rotation and activation reads, and one set of logits for
    `head_share` of the positions.
    """
    width, inner = config.hidden_size, config.feed_forward_size
    queries = config.num_attention_heads * config.head_size
    keys = config.key_value_heads * config.head_size
    attention = 2 * (2 * queries + 2 * keys)  # rotated queries, keys, values, and what they were mixed to
    if config.architecture == "bert":
        stream = 2 * (4 + 4 + 2) * width  # each half: the sum in float32, normalised, and a copy for the next product
        feed_forward = 2 * 2 * inner  # before and after the activation
    else:
        stream = 2 * (4 + 2) * width  # each half: the stream in float32 and its normalised copy
        feed_forward = 2 * 4 * inner  # gate, its activation, up, their product
    logits = 2 * vocab_size * head_share
    return int(tokens * (config.num_hidden_layers * (stream + attention + feed_forward) + logits))
