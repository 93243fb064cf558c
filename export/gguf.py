"""`python -m export.gguf MODEL --output F.gguf`: a decoder as one file for llama.cpp and the programs built on it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field
from tqdm import tqdm

from export.gguf_tensors import FORMATS, GGUFTensor, architecture_of, tensors_of
from export.gguf_tokenizer import Vocabulary, vocabulary_of
from foundation.atomic import atomic_path
from foundation.cli import run
from foundation.config import load_config
from foundation.errors import UserError
from foundation.output_file import output_file
from foundation.section import Section
from model.decoder import Decoder
from model.loading import load_model
from tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

SUFFIX = ".gguf"
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION, that of the blocks of q8_0


class GgufFlags(Section):
    """Options of the command."""

    positional: ClassVar[Sequence[str]] = ("model",)

    model: Path = Field(description="model directory, run directory or .pth checkpoint of a decoder")
    output: Path = Field(description="file to write (NAME.gguf); an existing one is replaced")
    dtype: Literal["f32", "f16", "bf16", "q8_0"] | None = Field(
        None,
        description="number format of the matrices; q8_0 has 8 bits and a scale for each 32; null: the model's own",
    )


def export_gguf(model: Path, output: Path, dtype: str | None = None) -> None:
    """Write the decoder at `model` to the file `output`, whole or not at all, a tensor at a time.

    `UserError` for encoders, and for tokenizers or shapes that llama.cpp does not have.
    """
    _require_package()
    file = output_file(output)
    if output.suffix != SUFFIX:
        raise UserError(f"{output}: not the name of a GGUF file; give one that ends with {SUFFIX}")
    found = load_model(model, "cpu", None)
    if not isinstance(found.model, Decoder):
        raise UserError(
            f"{found.source}: an encoder, and GGUF files are written of decoders; transformers reads it as it is"
        )
    tokenizer = Tokenizer.from_files(found.tokenizer_files, str(found.source))
    vocabulary = vocabulary_of(tokenizer, found.model.vocab_size, found.generation)
    kind = dtype or FORMATS[found.model.dtype]
    try:
        tensors = list(tensors_of(found.model, kind))
    except UserError as error:
        raise UserError(f"{found.source}: {error}") from None
    license = found.mateconv.get("license")
    with atomic_path(file) as temporary:
        _write(
            temporary,
            output.stem,
            found.model,
            vocabulary,
            tensors,
            kind,
            license if isinstance(license, str) else None,
        )


def _write(
    path: Path,
    name: str,
    model: Decoder,
    vocabulary: Vocabulary,
    tensors: Sequence[GGUFTensor],
    dtype: str,
    license: str | None,
) -> None:
    from gguf import GGUFWriter, LlamaFileType

    writer = GGUFWriter(None, architecture_of(model.config))
    writer.add_name(name)
    if license is not None:
        writer.add_license(license)
    writer.add_file_type(LlamaFileType[FILE_TYPES[dtype]])
    writer.add_quantization_version(QUANTIZATION_VERSION)
    _describe(writer, model)
    vocabulary.write(writer)
    for tensor in tensors:
        # float32 stands for any type but uint8, which would be taken for bytes
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.kind)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tqdm(tensors, unit="tensor", desc="gguf"):
        writer.write_tensor_data(tensor.encoded())
    writer.close()


def _describe(writer: GGUFWriter, model: Decoder) -> None:
    """The keys of the architecture (GGUF specification, `[llm].*`)."""
    from gguf import RopeScalingType

    config = model.config
    writer.add_vocab_size(model.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.feed_forward_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_size)
    writer.add_value_length(config.head_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_size)
    writer.add_rope_freq_base(config.rope_base)
    if config.rope_scaling is not None and config.rope_scaling.rope_type == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(config.rope_scaling.factor)


def _require_package() -> None:
    try:
        import gguf
    except ImportError:
        raise UserError('GGUF files need the package gguf: pip install -e ".[gguf]"') from None
    logging.getLogger(gguf.__name__).setLevel(logging.WARNING)


def main(argv: list[str]) -> int:
    """The command."""
    loaded = load_config("python -m export.gguf", "Write a decoder as a GGUF file.", {}, GgufFlags, argv)
    flags = loaded.get(GgufFlags)
    export_gguf(flags.model, flags.output, flags.dtype)
    print(f"{flags.output}: {flags.output.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    run(main)
