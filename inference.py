"""Generate text with a trained model: `--interactive`, `--prompt TEXT` or `--batch_file FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import Field

from foundation import cli, logs
from foundation.config import load_config
from foundation.errors import UserError
from foundation.section import Section
from foundation.streams import derive_seed
from generation.batch import run_batch
from generation.config import GenerationConfig, GenerationSettings
from generation.interactive import converse
from generation.text import TextGenerator

__all__ = ["GenerationConfig", "TextGenerator", "main"]

DESCRIPTION = "Generate text with a trained model: give --prompt, --interactive or --batch_file."
HELP = """Generate text with the newest model under out/ (or the one that --model_path names):
  python inference.py --interactive                  type and see it continue; a chat model answers
  python inference.py --prompt "Once upon a time"    one text; --num_samples 5 for several, --stream to watch
  python inference.py --batch_file prompts.txt --output out.jsonl
`python inference.py --help` lists every option."""


class Flags(Section):
    """What only the command line says."""

    prompt: str | None = Field(default=None, description="text to continue; '' starts from nothing")
    stream: bool = Field(default=False, description="show the text while it is made")
    interactive: bool = Field(default=False, description="read prompts from the terminal")
    batch_file: Path | None = Field(
        default=None, description=".txt with a prompt a line, or .jsonl with the key prompt"
    )
    output: Path | None = Field(default=None, description="JSON lines file for the results of --batch_file")
    greedy: bool = Field(default=False, description="always take the likeliest token; same as --no_do_sample")
    num_samples: int = Field(default=1, gt=0, description="how many texts to make from --prompt")


def main(argv: list[str]) -> int:
    """Run the command; the exit code. A batch file with unusable lines gives 1."""
    logs.setup()
    loaded = load_config("inference.py", DESCRIPTION, {"generation": GenerationSettings}, Flags, argv)
    flags, settings = loaded.get(Flags), loaded.get(GenerationSettings)
    modes = [flags.prompt is not None, flags.interactive, flags.batch_file is not None]
    if not any(modes):
        print(HELP)
        return 0
    if sum(modes) > 1:
        raise UserError("--prompt, --interactive and --batch_file exclude each other; give one of them")
    if flags.output is not None and flags.batch_file is None:
        raise UserError("--output goes with --batch_file; redirect the output of --prompt with >")
    config = GenerationConfig(**settings.model_dump(include=set(GenerationConfig.model_fields)))
    if flags.greedy:
        config = config.model_copy(update={"do_sample": False})
    generator = TextGenerator.from_path(settings.model_path, settings.device, settings.dtype)
    code = 0
    if flags.interactive:
        converse(generator, config)
    elif flags.batch_file is not None:
        bad = run_batch(generator, config, settings.batch_size, flags.batch_file, flags.output, sys.stdout)
        if bad:
            print(f"error: {flags.batch_file}: unusable lines: {bad}; their rows say why", file=sys.stderr)
        code = 1 if bad else 0
    elif flags.prompt is not None:
        _show_samples(generator, config, flags.prompt, flags.num_samples, flags.stream)
    _report(generator.tokens_generated, generator.seconds)
    return code


def _show_samples(generator: TextGenerator, config: GenerationConfig, prompt: str, count: int, stream: bool) -> None:
    """Print texts that begin with `prompt` (or a chat model's answers to it), `---` between them."""
    for sample in range(count):
        if sample:
            print("\n---")
        seed = config.seed if config.seed is None or not sample else derive_seed(config.seed, "sample", sample)
        own = config.model_copy(update={"seed": seed})
        if generator.can_chat:
            pieces = generator.chat([{"role": "user", "content": prompt}], own, stream=True)
        else:
            print(prompt, end="", flush=stream)
            pieces = generator.generate(prompt, own, stream=True)
        for piece in pieces:
            print(piece, end="", flush=stream)
    print()


def _report(tokens: int, seconds: float) -> None:
    if tokens:
        print(f"{tokens} tokens in {seconds:.1f} s: {tokens / seconds:.1f} tokens/s", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
