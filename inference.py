"""Use a trained model: a decoder writes and chats, an encoder fills masks, classifies, compares and embeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from foundation import cli, logs
from foundation.config import Loaded, load_config
from foundation.device import pick_device, pick_dtype
from foundation.errors import UserError
from generation.config import GenerationConfig, GenerationSettings
from generation.encoder.bert_inference import BertInference
from generation.encoder.interactive import ask
from generation.encoder.modes import Request, answer
from generation.encoder.text import TextEncoder
from generation.loading import load_trained
from generation.modes import Writing, write
from generation.serving.flags import ServingFlags
from generation.terminal.line_editing import line_editing
from generation.text import TextGenerator
from model.encoder.encoder import Encoder

__all__ = ["BertInference", "GenerationConfig", "TextEncoder", "TextGenerator", "main"]

DESCRIPTION = (
    "Use a trained model: give --prompt, --interactive, --fill_mask, --classify or another of the modes below."
)
HELP = """Use the newest model under out/ (or the one that --model_path names). A decoder:
  python inference.py --interactive                  type and see it continue; a chat model answers
  python inference.py --prompt "Once upon a time"    one text; --num_samples 5 for several, --stream to watch
  python inference.py --prompt - --greedy --json     the prompt from standard input; the likeliest text, as JSON
  python inference.py --batch_file prompts.txt --output out.jsonl    killed? the same command goes on
  python inference.py --serve                        OpenAI's API and a page to chat, on this machine
An encoder:
  python inference.py --fill_mask "The film was [MASK]."      the likeliest words; --top_k 10 for more
  python inference.py --classify "What a film!"               a fine-tuned one: the class and how sure it is
  python inference.py --classify_file reviews.txt --output classes.jsonl
  python inference.py --similarity "a good film" "a fine movie"
  python inference.py --embed_file texts.txt --output vectors.npy
  python inference.py --interactive                           fills masks or classifies line by line
`python inference.py --help` lists every option."""
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


def main(argv: list[str]) -> int:
    """Run the command; the exit code. A file with unusable lines gives 1."""
    logs.setup()
    loaded = load_config("inference.py", DESCRIPTION, {"generation": GenerationSettings}, Flags, argv)
    flags, settings = loaded.get(Flags), loaded.get(GenerationSettings)
    modes = [mode for mode in MODES if getattr(flags, mode) not in (None, False)]
    if not modes:
        print(HELP)
        return 0
    _check(flags, modes, loaded.by_flag)
    request = _request(flags, loaded)
    device = pick_device(settings.device)
    trained = load_trained(settings.model_path, device, pick_dtype(settings.dtype, device))
    if modes[0] in ENCODER_MODES:
        return answer(TextEncoder.from_trained(trained, settings.batch_size), request)
    if flags.interactive and isinstance(trained.model, Encoder):
        with line_editing():
            ask(TextEncoder.from_trained(trained, settings.batch_size), request.top_k)
        return 0
    generator = TextGenerator.from_trained(trained, settings.batch_size, settings.quantization, settings.compile)
    return _write(generator, trained.source, flags, settings)


def _check(flags: Flags, modes: Sequence[str], given: Collection[str]) -> None:
    """`UserError` for flags that don't go together."""
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


def _flag(name: str) -> str:
    """The name that people know a flag by."""
    return next(iter({**GenerationConfig.aliases, **Flags.aliases}.get(name, (name,))))


def _named(modes: Sequence[str]) -> str:
    names = [f"--{_flag(mode)}" for mode in modes]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _request(flags: Flags, loaded: Loaded) -> Request:
    """What an encoder is asked. The section's top_k is about sampling: only the flag counts here."""
    same = ("output", "as_json", *ENCODER_MODES)
    values = {name: getattr(flags, name) for name in same}
    if "top_k" in loaded.by_flag:
        values["top_k"] = loaded.get(GenerationSettings).top_k
    request = Request(**values)
    request.check()
    return request


def _write(generator: TextGenerator, source: Path, flags: Flags, settings: GenerationSettings) -> int:
    """Let a decoder write."""
    options = settings.model_dump(include=set(GenerationConfig.model_fields))
    config = GenerationConfig(**options | ({"do_sample": False} if flags.greedy else {}))
    if flags.serve:
        from generation.serving.run import default_name, serve  # needs an extra

        return serve(generator, config, flags, default_name(source))
    return write(generator, config, Writing(**{field.name: getattr(flags, field.name) for field in fields(Writing)}))


if __name__ == "__main__":
    cli.run(main)
