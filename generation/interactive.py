"""The interactive loop: a line in, a streamed text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from generation.config import GenerationConfig
from generation.text import TextGenerator

LEAVE = ("exit", "quit", "q")
CLEAR = "clear"
READY_TO_CHAT = "Say something. `clear` forgets the conversation; exit, quit or q leaves."
NOT_CHAT_TRAINED = (
    "This model was not trained to chat: it continues the text you type.\n"
    "Each line starts anew; exit, quit or q leaves."
)


def typed_lines(read: Callable[[str], str], write: Callable[[str], object]) -> Iterator[str]:
    """The lines of `read`, without blanks around them and without empty ones, until exit, quit, q, end of input or
    Ctrl-C at the prompt."""
    while True:
        try:
            line = read("> ").strip()
        except (EOFError, KeyboardInterrupt):
            write("\n")
            return
        except UnicodeDecodeError:
            write("That was not UTF-8 text; set the terminal to UTF-8.\n")
            continue
        if line.lower() in LEAVE:
            return
        if line:
            yield line


def converse(
    generator: TextGenerator,
    config: GenerationConfig,
    read: Callable[[str], str] = input,
    write: Callable[[str], object] = lambda text: print(text, end="", flush=True),
) -> None:
    """Answer lines from `read` until exit, quit, q, end of input or Ctrl-C at the prompt.

    Ctrl-C while an answer is written ends that answer only. `clear` forgets the conversation.
    """
    write((READY_TO_CHAT if generator.can_chat else NOT_CHAT_TRAINED) + "\n")
    history: list[dict[str, str]] = []
    for line in typed_lines(read, write):
        if line.lower() == CLEAR:
            history = []
            write("(forgotten)\n")
        else:
            _answer(generator, config, history, line, write)


def _answer(
    generator: TextGenerator,
    config: GenerationConfig,
    history: list[dict[str, str]],
    line: str,
    write: Callable[[str], object],
) -> None:
    pieces: list[str] = []
    if generator.can_chat:
        history.append({"role": "user", "content": line})
        stream = generator.chat(history, config, stream=True)
    else:
        write(line)
        stream = generator.generate(line, config, stream=True)
    try:
        for piece in stream:
            pieces.append(piece)
            write(piece)
    except KeyboardInterrupt:
        write(" …")
    write("\n")
    if generator.can_chat:
        history.append({"role": "assistant", "content": "".join(pieces)})
