"""What inference.py is told on its command line: the modes it has, and what goes with which."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.serving.flags import ServingFlags

DECODER_MODES, ENCODER_MODES = (
    ("prompt", "batch_file", "serve"),
    ("fill_mask", "classify", "classify_file", "similarity", "embed_file"),
)
MODES = ("interactive", *DECODER_MODES, *ENCODER_MODES)
WRITING = ("stream", "greedy", "overwrite", "quantization", "compile")
GOES_WITH: Mapping[str, tuple[str, ...]] = {
    "output": ("batch_file", "classify_file", "embed_file"),
    "overwrite": ("batch_file",),
    "as_json": ("prompt", *ENCODER_MODES),
    "stream": ("prompt", "interactive"),
    "num_return_sequences": ("prompt", "batch_file"),
    "logprobs": ("prompt", "batch_file"),
    **dict.fromkeys(ServingFlags.model_fields, ("serve",)),
}
"""The modes that a flag has a meaning in, where these are not all that write or all that don't."""
INSTEAD = {
    "output": "redirect the output of --{mode} with >",
    "as_json": "--batch_file writes JSON lines anyway",
}


class Flags(ServingFlags):
    """What only the command line says."""

    aliases: ClassVar[Mapping[str, Sequence[str]]] = {"as_json": ("json",)}

    prompt: str | None = Field(
        default=None,
        description="text to continue, or to answer for a chat model; - is standard input, '' starts from nothing",
    )
    stream: bool = Field(default=False, description="show the text while it is made")
    interactive: bool = Field(
        default=False, description="read lines from the terminal: prompts, or texts to fill or classify"
    )
    batch_file: Path | None = Field(
        default=None, description=".txt with a prompt a line, or .jsonl with the key prompt, or messages to answer"
    )
    output: Path | None = Field(
        default=None,
        description="file for the results: JSON lines of --batch_file and --classify_file, .npy of --embed_file",
    )
    overwrite: bool = Field(
        default=False, description="make all rows of --output anew, whatever it holds, instead of going on with it"
    )
    greedy: bool = Field(default=False, description="always take the likeliest token; same as --no_do_sample")
    fill_mask: str | None = Field(
        default=None, description="text with [MASK] where words are missing; --top_k answers for each (5)"
    )
    classify: str | None = Field(default=None, description="text to tell the class of")
    classify_file: Path | None = Field(
        default=None, description=".txt with a text a line, or .jsonl with the key text, to classify"
    )
    similarity: tuple[str, ...] | None = Field(
        default=None, description="two texts to compare: cosine of their vectors"
    )
    embed_file: Path | None = Field(
        default=None,
        description=".txt or .jsonl (key text) to make mean-pooled vectors of: float32, a row a line, in --output or "
        "beside the file as .npy",
    )
    as_json: bool = Field(default=False, description="answer in JSON")


def mode_of(flags: Flags, given: Collection[str]) -> str | None:
    """The mode that was asked for, if one was; `UserError` for flags that don't go together. `given` are the names of
    all flags on the command line."""
    modes = [mode for mode in MODES if getattr(flags, mode) not in (None, False)]
    if not modes:
        return None
    if len(modes) > 1:
        raise UserError(f"{_named(modes)} exclude each other; give one of them")
    for name in sorted(given):
        if modes[0] not in GOES_WITH.get(name, modes):
            instead = INSTEAD.get(name, "leave it out").format(mode=modes[0])
            raise UserError(f"--{_flag(name)} goes with {_named(GOES_WITH[name])}; {instead}")
    if flags.prompt is not None and flags.as_json and flags.stream:
        raise UserError("--json shows a text when it is whole; leave out --stream")
    if flags.prompt is not None and "logprobs" in given and not flags.as_json:
        raise UserError("--logprobs are shown with --json; add it")
    if flags.overwrite and flags.output is None:
        raise UserError("--overwrite is about the file of --output; name one")
    idle = [name for name in (*GenerationConfig.model_fields, *WRITING) if name in given]
    idle = [name for name in idle if modes[0] in ENCODER_MODES and (name, modes[0]) != ("top_k", "fill_mask")]
    if idle:
        raise UserError(f"--{modes[0]}: --{idle[0]} is about writing text and has no meaning here; leave it out")
    return modes[0]


def _flag(name: str) -> str:
    """The name that people know a flag by."""
    return next(iter({**GenerationConfig.aliases, **Flags.aliases}.get(name, (name,))))


def _named(modes: Sequence[str]) -> str:
    names = [f"--{_flag(mode)}" for mode in modes]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
