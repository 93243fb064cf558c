"""What inference.py does with a decoder: one function for its modes, each shows what was written."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from generation.bandwidth import read_bandwidth
from generation.batch_file.run import run_batch
from generation.chat import Message
from generation.config import GenerationConfig
from generation.show import answer_values
from generation.terminal.converse import converse
from generation.terminal.line_editing import line_editing
from generation.terminal.screen import show
from generation.text import TextGenerator

STDIN = "-"


@dataclass(frozen=True)
class Writing:
    """What the command line asks a decoder for: one of the first three, and how to show it."""

    interactive: bool = False
    batch_file: Path | None = None
    prompt: str | None = None
    output: Path | None = None
    overwrite: bool = False
    stream: bool = False
    as_json: bool = False


def write(generator: TextGenerator, config: GenerationConfig, asked: Writing) -> int:
    """Do it and show it; the exit code. A file with unusable lines gives 1."""
    code = 0
    if asked.interactive:
        with line_editing():
            converse(generator, config)
    elif asked.batch_file is not None:
        bad = run_batch(generator, config, asked.batch_file, asked.output, overwrite=asked.overwrite)
        if bad:
            print(f"error: {asked.batch_file}: unusable lines: {bad}; their rows say why", file=sys.stderr)
        code = 1 if bad else 0
    elif asked.prompt is not None:
        prompt = _from_stdin() if asked.prompt == STDIN else asked.prompt
        _show_samples(generator, config, prompt, asked)
    report(generator)
    return code


def report(generator: TextGenerator) -> None:
    """Say on standard error how fast it was, and how near that is to what this machine's memory allows."""
    used = generator.engine.usage
    if used.tokens:
        bandwidth = read_bandwidth(generator.model, generator.compile)
        rate, share = used.tokens / used.seconds, used.bytes_read / used.seconds / bandwidth
        read = f"weights and cache read at {share:.0%} of the memory's {bandwidth / 1e9:.0f} GB/s"
        print(f"{used.tokens} tokens in {used.seconds:.1f} s: {rate:.1f} tokens/s, {read}", file=sys.stderr)


def _from_stdin() -> str:
    """All of standard input, without the line's end that `echo` adds."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise UserError(f"--prompt -: standard input is not UTF-8 text at byte {error.start + 1}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _show_samples(generator: TextGenerator, config: GenerationConfig, prompt: str, asked: Writing) -> None:
    """Print texts that begin with `prompt` (or a chat model's answers to it), `---` between them."""
    said: str | list[Message] = [{"role": "user", "content": prompt}] if generator.can_chat else prompt
    if asked.as_json:
        print(json.dumps(answer_values(prompt, generator.complete(said, config)), ensure_ascii=False))
        return
    opening = "" if generator.can_chat else prompt
    if not asked.stream:
        show("\n---\n".join(opening + completion.text for completion in generator.complete(said, config)) + "\n")
        return
    for number, request in enumerate(generator.requests(said, config)):
        own = config.replace(num_return_sequences=1, seed=request.seed)
        show(("\n---\n" if number else "") + opening)
        if isinstance(said, str):
            pieces = generator.generate(said, own, stream=True)
        else:
            pieces = generator.chat(said, own, stream=True)
        for piece in pieces:
            show(piece)
    show("\n")
