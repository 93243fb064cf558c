"""Use a trained model: a decoder writes and chats, an encoder fills masks, classifies, compares and embeds."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from foundation import cli, logs
from foundation.config import Loaded, load_config
from foundation.device import pick_device, pick_dtype
from generation.config import GenerationConfig, GenerationSettings
from generation.encoder.bert_inference import BertInference
from generation.encoder.interactive import ask
from generation.encoder.modes import Request, answer
from generation.encoder.text import TextEncoder
from generation.flags import ENCODER_MODES, Flags, mode_of
from generation.loading import load_trained
from generation.modes import Writing, write
from generation.terminal.line_editing import line_editing
from generation.text import TextGenerator
from model.encoder.encoder import Encoder

__all__ = ["BertInference", "Flags", "GenerationConfig", "TextEncoder", "TextGenerator", "main"]

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


def main(argv: list[str]) -> int:
    """Run the command; the exit code. A file with unusable lines gives 1."""
    logs.setup(prints_results=True)
    loaded = load_config("inference.py", DESCRIPTION, {"generation": GenerationSettings}, Flags, argv)
    flags, settings = loaded.get(Flags), loaded.get(GenerationSettings)
    mode = mode_of(flags, loaded.by_flag)
    if mode is None:
        print(HELP)
        return 0
    request = _request(flags, loaded)
    if mode in ENCODER_MODES:  # a decoder's top_k may be 0
        request.check()
    device = pick_device(settings.device)
    trained = load_trained(settings.model_path, device, pick_dtype(settings.dtype, device))
    if mode in ENCODER_MODES:
        return answer(TextEncoder.from_trained(trained, settings.batch_size), request)
    if flags.interactive and isinstance(trained.model, Encoder):
        request.check()
        with line_editing():
            ask(TextEncoder.from_trained(trained, settings.batch_size), request.top_k)
        return 0
    generator = TextGenerator.from_trained(trained, settings.batch_size, settings.quantization, settings.compile)
    return _write(generator, trained.source, flags, settings)


def _request(flags: Flags, loaded: Loaded) -> Request:
    """What an encoder is asked. The section's top_k is about sampling: only the flag counts here."""
    same = ("output", "as_json", *ENCODER_MODES)
    values = {name: getattr(flags, name) for name in same}
    if "top_k" in loaded.by_flag:
        values["top_k"] = loaded.get(GenerationSettings).top_k
    return Request(**values)


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
