"""Text in, text out: the Python API of generation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from foundation.device import pick_device, pick_dtype
from foundation.errors import UserError
from foundation.logs import get_logger
from generation.chat import Message, check_history
from generation.config import GenerationConfig
from generation.encoder.abilities import WRITE, require
from generation.engine import Engine, Request, Token
from generation.loading import TrainedModel, load_trained
from generation.prompts import Conventions, PromptEncoder
from model.decoder import Decoder
from tokenization.stream import StreamDecoder
from tokenization.tokenizer import Tokenizer

LOG = get_logger("generation")
Callback = Callable[[str], object]
Options = GenerationConfig | None  # None: the defaults


class TextGenerator:
    """A model and its tokenizer.

    `generation` is the content of generation_config.json and `mateconv` what config.json says under that key;
    `from_path` fills both. They tell which tokens end a text, how documents were separated in training (a
    prompt begins as a document did), and whether the model was trained to chat.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        generation: Mapping[str, Any] | None = None,
        mateconv: Mapping[str, Any] | None = None,
    ) -> None:
        if tokenizer.vocab_size > model.vocab_size:
            raise UserError(
                f"{tokenizer.where}: the tokenizer has {tokenizer.vocab_size} tokens, but the model knows "
                f"{model.vocab_size}; use the tokenizer the model was trained with"
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.tokens_generated, self.seconds = 0, 0.0  # over all calls; the time spent in the model
        self._conventions = Conventions.read(tokenizer, generation or {}, mateconv or {})
        self._prompts = PromptEncoder(tokenizer, self._conventions, model.config.max_position_embeddings)
        self._engine: Engine | None = None
        self._said_not_chat_trained = False

    @classmethod
    def from_path(cls, path: Path | str | None = None, device: str = "auto", dtype: str = "auto") -> TextGenerator:
        """Load a model directory, a run directory or a .pth checkpoint; None: the newest model under out/."""
        where = pick_device(device)
        loaded = load_trained(None if path is None else Path(path), where, pick_dtype(dtype, where))
        return cls.from_trained(loaded)

    @classmethod
    def from_trained(cls, loaded: TrainedModel) -> TextGenerator:
        """Take a model that was loaded; `UserError` for an encoder."""
        require(WRITE, loaded.model, loaded.source)
        assert isinstance(loaded.model, Decoder)
        return cls(loaded.model, loaded.tokenizer, generation=loaded.generation, mateconv=loaded.mateconv)

    @property
    def can_chat(self) -> bool:
        """Whether the model was trained to answer and brings the template for it."""
        return self._conventions.chat_trained and self.tokenizer.chat_template is not None

    @overload
    def generate(self, prompt: str, config: Options = ..., *, stream: Literal[True]) -> Iterator[str]: ...

    @overload
    def generate(self, prompt: str, config: Options = ..., *, stream: Literal[False] = ...) -> str: ...

    @overload
    def generate(self, prompt: str, config: Options = ..., *, stream: bool = ..., callback: Callback) -> str: ...

    def generate(
        self,
        prompt: str,
        config: Options = None,
        *,
        stream: bool = False,
        callback: Callback | None = None,
    ) -> str | Iterator[str]:
        """The text that follows `prompt`.

        With `callback`, each piece is handed to it as soon as its characters are whole, and the whole text is
        returned at the end. With `stream` and no callback, an iterator over the pieces is returned. A prompt
        that does not fit the context keeps its end; generation stops where the context is full.
        """
        config = config or GenerationConfig()
        return _deliver(self._pieces(self._prompts.text(prompt, config), config), stream, callback)

    def batch_generate(
        self,
        prompts: Sequence[str],
        config: Options = None,
        *,
        batch_size: int = 16,
        seeds: Sequence[int | None] | None = None,
    ) -> list[str]:
        """The text that follows each prompt, `batch_size` prompts at a time.

        Each row has its own chance, from its place in `seeds` or else from the configuration's seed: a prompt
        gives the text that it would give alone.
        """
        config = config or GenerationConfig()
        chances = [config.seed] * len(prompts) if seeds is None else list(seeds)
        encoded = [self._prompts.text(prompt, config) for prompt in prompts]
        self.engine.slots = max(self.engine.slots, batch_size)
        decoders = [StreamDecoder(self.tokenizer) for _ in prompts]
        texts = [""] * len(prompts)
        for row, token in self._tokens(encoded, config, chances, at_once=batch_size):
            texts[row] += decoders[row].push(token)
        return [text + decoder.finish() for text, decoder in zip(texts, decoders, strict=True)]

    @overload
    def chat(self, history: Sequence[Message], config: Options = ..., *, stream: Literal[True]) -> Iterator[str]: ...

    @overload
    def chat(self, history: Sequence[Message], config: Options = ..., *, stream: Literal[False] = ...) -> str: ...

    @overload
    def chat(
        self, history: Sequence[Message], config: Options = ..., *, stream: bool = ..., callback: Callback
    ) -> str: ...

    def chat(
        self,
        history: Sequence[Message],
        config: Options = None,
        *,
        stream: bool = False,
        callback: Callback | None = None,
    ) -> str | Iterator[str]:
        """The assistant's answer to `history`: messages {"role": system|user|assistant, "content": text}.

        Delivered as `generate` does. What a conversation shares with the one before is not read again. When
        it outgrows the context, the oldest messages (but the system's) are left out. A model that was not
        trained to chat continues the last message's text, and says so once.
        """
        config = config or GenerationConfig()
        check_history(history)
        template = self.tokenizer.chat_template
        if template is None or not self.can_chat:
            if not self._said_not_chat_trained:
                LOG.warning("this model was not trained to chat: it continues the text it is given")
            self._said_not_chat_trained = True
            pieces = self._pieces(self._prompts.text(history[-1]["content"], config), config)
        else:
            pieces = self._pieces(self._prompts.chat(template, history, config), config)
        return _deliver(pieces, stream, callback)

    @property
    def engine(self) -> Engine:
        """What continues the prompts; it keeps what was read of the last ones."""
        if self._engine is None:
            self._engine = Engine(self.model)
        return self._engine

    def _tokens(
        self,
        prompts: Sequence[list[int]],
        config: GenerationConfig,
        seeds: Sequence[int | None],
        *,
        at_once: int = 1,
    ) -> Iterator[tuple[int, int]]:
        """Row and token, as they come; counted and timed."""
        requests = [
            Request(ids, config, seed, self._conventions.stop) for ids, seed in zip(prompts, seeds, strict=True)
        ]
        steps = self.engine.stream(requests, at_once=at_once)
        try:
            while True:
                begun = time.perf_counter()
                step: Token | None = next(steps, None)
                self.seconds += time.perf_counter() - begun
                if step is None:
                    return
                if step.token is not None:
                    self.tokens_generated += 1
                    yield step.request, step.token
        finally:
            steps.close()

    def _pieces(self, prompt: list[int], config: GenerationConfig) -> Iterator[str]:
        decoder = StreamDecoder(self.tokenizer)
        for _, token in self._tokens([prompt], config, [config.seed]):
            if piece := decoder.push(token):
                yield piece
        if piece := decoder.finish():
            yield piece


def _deliver(pieces: Iterator[str], stream: bool, callback: Callback | None) -> str | Iterator[str]:
    if stream and callback is None:
        return pieces
    texts = []
    for piece in pieces:
        if callback is not None:
            callback(piece)
        texts.append(piece)
    return "".join(texts)
