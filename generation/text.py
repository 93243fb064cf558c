"""Text in, text out: the Python API of generation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

from foundation.device import pick_device, pick_dtype
from foundation.errors import UserError
from foundation.logs import get_logger
from generation.chat import Message, check_history
from generation.completion import Completion, Piece, Writer
from generation.config import GenerationConfig
from generation.encoder.abilities import WRITE, require
from generation.engine import Engine, Quantization, Request
from generation.loading import TrainedModel, load_trained
from generation.many import complete_each, deliver, write
from generation.prompts import Conventions, Prompt, PromptEncoder
from model.decoder import Decoder
from tokenization.token_text import TokenTexts
from tokenization.tokenizer import Tokenizer

LOG = get_logger("generation")
Callback = Callable[[str], object]
Options = GenerationConfig | None  # None: the defaults


class TextGenerator:
    """A model and its tokenizer.

    `generation` is the content of generation_config.json and `mateconv` what config.json says under that key;
    `from_path` fills both. They tell which tokens end a text, how documents were separated in training (a
    prompt begins as a document did), and whether the model was trained to chat. At most `slots` texts are written at
    a time; `quantization` and `compile` are the engine's.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        generation: Mapping[str, Any] | None = None,
        mateconv: Mapping[str, Any] | None = None,
        slots: int = 16,
        quantization: Quantization = "none",
        compile: bool = True,
    ) -> None:
        if tokenizer.vocab_size > model.vocab_size:
            raise UserError(
                f"{tokenizer.where}: the tokenizer has {tokenizer.vocab_size} tokens, but the model knows "
                f"{model.vocab_size}; use the tokenizer the model was trained with"
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.slots, self.quantization, self.compile = slots, quantization, compile
        self._conventions = Conventions.read(tokenizer, generation or {}, mateconv or {})
        self._prompts = PromptEncoder(tokenizer, self._conventions, model.config.max_position_embeddings)
        self._texts = TokenTexts(tokenizer)
        self._engine: Engine | None = None
        self._said_not_chat_trained = False

    @classmethod
    def from_path(
        cls,
        path: Path | str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        quantization: Quantization = "none",
        compile: bool = True,
    ) -> TextGenerator:
        """Load a model directory, a run directory or a .pth checkpoint; None: the newest model under out/."""
        where = pick_device(device)
        loaded = load_trained(None if path is None else Path(path), where, pick_dtype(dtype, where))
        return cls.from_trained(loaded, quantization=quantization, compile=compile)

    @classmethod
    def from_trained(
        cls, loaded: TrainedModel, slots: int = 16, quantization: Quantization = "none", compile: bool = True
    ) -> TextGenerator:
        """Take a model that was loaded; `UserError` for an encoder."""
        require(WRITE, loaded.model, loaded.source)
        assert isinstance(loaded.model, Decoder)
        return cls(
            loaded.model, loaded.tokenizer, generation=loaded.generation, mateconv=loaded.mateconv,
            slots=slots, quantization=quantization, compile=compile,
        )  # fmt: skip

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
        that does not fit the context keeps its end; generation stops where the context is full, at a stop token
        or before a stop string.
        """
        return deliver(self._pieces(self._one_request(prompt, config)), stream, callback)

    def batch_generate(
        self,
        prompts: Sequence[Prompt],
        config: Options = None,
        *,
        batch_size: int = 16,
        seeds: Sequence[int | None] | None = None,
    ) -> list[str]:
        """What follows each text or answers each conversation, `batch_size` at a time; all texts of a prompt one after
        the other where the configuration asks for several.

        Each row has its own chance, from its place in `seeds` or else from the configuration's seed: a prompt
        gives the text that it would give alone.
        """
        if seeds is not None and len(seeds) != len(prompts):
            raise UserError(f"seeds: there are {len(seeds)} for {len(prompts)} prompts; give one for each")
        self.slots = max(self.slots, batch_size)
        found: dict[int, list[str]] = {}
        for place, result in self.complete_each(prompts, config, seeds=seeds, at_once=batch_size):
            if isinstance(result, UserError):
                raise result
            found[place] = [completion.text for completion in result]
        return [text for place in range(len(prompts)) for text in found[place]]

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
        it outgrows the context, the oldest turns (but the system's message) are left out. A model that was not
        trained to chat continues the last message's text, and says so once.
        """
        check_history(history)
        prompt: Prompt = history
        if not self.can_chat:
            if not self._said_not_chat_trained:
                LOG.warning("this model was not trained to chat: it continues the text it is given")
            self._said_not_chat_trained = True
            prompt = history[-1]["content"]
        return deliver(self._pieces(self._one_request(prompt, config)), stream, callback)

    def complete(self, prompt: Prompt, config: Options = None) -> list[Completion]:
        """What follows a text or answers a conversation, with details: `num_return_sequences` of them."""
        ((_, result),) = self.complete_each([prompt], config)
        if isinstance(result, UserError):
            raise result
        return result

    def complete_each(
        self,
        prompts: Iterable[Prompt],
        config: Options = None,
        *,
        seeds: Iterable[int | None] | None = None,
        at_once: int | None = None,
    ) -> Iterator[tuple[int, list[Completion] | UserError]]:
        """The place of each prompt and what `complete` gives for it, or why it cannot, in the order they end.

        `prompts` may be an iterator over more than memory holds: the next one is taken when a text has ended.
        `seeds` go in the place of the configuration's; `at_once` texts are written at a time (else `slots`).
        """
        config = config or GenerationConfig()
        chances = itertools.repeat(config.seed) if seeds is None else seeds
        return complete_each(
            zip(prompts, chances, strict=seeds is not None),
            lambda row: self.requests(row[0], config.model_copy(update={"seed": row[1]})),
            lambda requests: self._write(requests, at_once or self.slots),
        )

    def requests(self, prompt: Prompt, config: GenerationConfig, *, cut: bool = True) -> list[Request]:
        """What to ask an engine for: `num_return_sequences` requests, each with its own chance.

        `UserError` for a conversation with a model that was not trained to chat, and for a prompt that does not fit
        the context where it must not be `cut` (`generation.prompts.TooLong`).
        """
        return self._prompts.requests(prompt, config, cut=cut)

    def writer(self, request: Request) -> Writer:
        """What makes text of a request's tokens."""
        return Writer(self.tokenizer, self._texts, request)

    def make_engine(self) -> Engine:
        """A new engine for this model."""
        return Engine(self.model, slots=self.slots, quantization=self.quantization, compile=self.compile)

    @property
    def engine(self) -> Engine:
        """What continues the prompts; it keeps what was read of the last ones."""
        if self._engine is None:
            self._engine = self.make_engine()
        return self._engine

    def _one_request(self, prompt: Prompt, config: Options) -> Request:
        requests = self.requests(prompt, config or GenerationConfig())
        if len(requests) > 1:
            raise UserError(f"num_return_sequences is {len(requests)}: `complete` gives several texts, this gives one")
        return requests[0]

    def _pieces(self, request: Request) -> Iterator[str]:
        for _, piece, _ in self._write([request], at_once=1):
            if piece.text:
                yield piece.text

    def _write(self, requests: Iterable[Request], at_once: int) -> Iterator[tuple[int, Piece, Writer]]:
        self.engine.slots = max(self.engine.slots, self.slots)
        return write(self.engine, requests, self.writer, at_once)
