"""The interactive loop of a decoder: a text or a command in, a streamed answer out."""

from __future__ import annotations

from collections.abc import Generator, Iterable

from foundation.errors import UserError
from generation.config import GenerationConfig
from generation.terminal.commands import command_in, obey, text_to_say
from generation.terminal.dialogue import Dialogue
from generation.terminal.screen import show
from generation.terminal.stopping import stoppable
from generation.terminal.typed import Read, Write, typed_texts
from generation.text import TextGenerator

READY_TO_CHAT = (
    "Say something. `clear` forgets the conversation; /help says what else there is; exit, quit or q leaves."
)
NOT_CHAT_TRAINED = (
    "This model was not trained to chat: it continues the text you type.\n"
    "Each text starts anew. /help lists what can be typed besides; exit, quit or q leaves."
)


def converse(generator: TextGenerator, config: GenerationConfig, read: Read = input, write: Write = show) -> None:
    """Answer what is typed until exit, quit, q, end of input or Ctrl-C at the prompt.

    Ctrl-C while an answer is written ends that answer only; what was written of it stays in the conversation.
    """
    write((READY_TO_CHAT if generator.can_chat else NOT_CHAT_TRAINED) + "\n")
    dialogue = Dialogue(generator, config)
    for text in typed_texts(read, write):
        command = command_in(text)
        try:
            _show(dialogue.say(text_to_say(text)) if command is None else obey(dialogue, *command), write)
        except UserError as error:
            write(f"{error}\n")
        except OSError as error:  # of a file: the conversation goes on
            write(f"{error.filename or ''}: {error.strerror or error}\n")


def _show(pieces: Iterable[str], write: Write) -> None:
    with stoppable() as stopped:
        try:
            for piece in pieces:
                write(piece)
                if stopped():
                    write(" …")
                    break
        except KeyboardInterrupt:
            write(" …")
        finally:
            if isinstance(pieces, Generator):
                pieces.close()
    write("\n")
