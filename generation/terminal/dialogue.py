"""What was said so far, and how the next answer is made."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from foundation.errors import UserError
from foundation.streams import derive_seed
from generation.chat import Message
from generation.config import GenerationConfig
from generation.text import TextGenerator


class Dialogue:
    """The messages between a person and a model, and the options of its answers.

    A model that was not trained to chat continues each text of the person by itself; what it adds is its answer.
    """

    def __init__(self, generator: TextGenerator, config: GenerationConfig) -> None:
        self.generator, self.config = generator, config.replace(num_return_sequences=1, logprobs=None)
        self.messages: list[Message] = []
        self._again = 0  # times that the last text was answered anew

    def say(self, text: str) -> Iterator[str]:
        """The pieces of the answer to `text`; of a continuation `text` is the first. Both are remembered, also where
        the iterator is closed before its end; after a `UserError` neither is."""
        return self._answer(text, self.config, 0)

    def undo(self) -> str:
        """Forget the last text and its answer; gives the text. `UserError` where there is none."""
        places = [place for place, message in enumerate(self.messages) if message["role"] == "user"]
        if not places:
            raise UserError("nothing was said yet")
        text = self.messages[places[-1]]["content"]
        del self.messages[places[-1] :]
        return text

    def retry(self) -> Iterator[str]:
        """Answer the last text anew, by another chance; where that fails the old answer stays."""
        before, times = list(self.messages), self._again + 1
        text, seed = self.undo(), self.config.seed
        other = None if seed is None else derive_seed(seed, "retry", times)
        try:
            yield from self._answer(text, self.config.replace(seed=other), times)
        except UserError:
            self.messages = before
            raise

    def forget(self) -> None:
        """Start anew."""
        self.messages = []

    def _answer(self, text: str, config: GenerationConfig, times: int) -> Iterator[str]:
        question: Message = {"role": "user", "content": text}
        pieces: list[str] = []
        refused = False
        if self.generator.can_chat:
            stream = self.generator.chat([*self.messages, question], config, stream=True)
        else:
            stream = self.generator.generate(text, config, stream=True)
            yield text
        try:
            for piece in stream:
                pieces.append(piece)
                yield piece
        except UserError:
            refused = True
            raise
        finally:
            if isinstance(stream, Generator):
                stream.close()
            if not refused:
                self.messages += [question, {"role": "assistant", "content": "".join(pieces)}]
                self._again = times
