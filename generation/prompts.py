"""From a user's text to the token ids that a model continues, as it met texts in training."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError
from foundation.logs import get_logger
from foundation.streams import derive_seed
from generation.chat import Message, check_history, encode_chat
from generation.config import GenerationConfig
from generation.engine import Request
from tokenization.tokenizer import Tokenizer

LOG = get_logger("generation")
Prompt = str | Sequence[Message]
"""A text to continue, or a conversation to answer."""


@dataclass(frozen=True)
class Conventions:
    """What a model directory says about how texts begin and end."""

    stop: frozenset[int]
    """Tokens that end a text."""
    beginning: tuple[int, ...]
    """What stood before each document in training: the terminator of the one before."""
    first: int | None
    """What an empty prompt becomes."""
    chat_trained: bool
    foreign: bool
    """Whether others trained the model."""

    @classmethod
    def read(cls, tokenizer: Tokenizer, generation: Mapping[str, Any], mateconv: Mapping[str, Any]) -> Conventions:
        """From generation_config.json and the `mateconv` key of config.json, empty for a foreign model.

        Our models say under `terminator` how their documents ended; where that is missing it is the
        end-of-text token. A foreign model's texts begin as its tokenizer says, and it counts as trained to
        chat when it brings a chat template.
        """
        end_of_text = tokenizer.roles.end_of_text
        end = generation.get("eos_token_id")
        stop = {end_of_text, tokenizer.roles.turn_end, *(end if isinstance(end, list) else [end])}
        usual = tokenizer.opening if not mateconv else [] if end_of_text is None else [end_of_text]
        return cls(
            stop=frozenset(token for token in stop if token is not None),
            beginning=tuple(mateconv.get("terminator", usual)),
            first=generation.get("bos_token_id") if end_of_text is None else end_of_text,
            chat_trained=bool(mateconv.get("chat_trained", tokenizer.chat_template is not None)),
            foreign=not mateconv,
        )


class TooLong(UserError):
    """A prompt that leaves no room for its answer."""

    def __init__(self, prompt_tokens: int, context: int) -> None:
        super().__init__(
            f"the prompt has {prompt_tokens} tokens, and the model's context of {context} must also hold what follows; "
            "shorten the prompt"
        )
        self.prompt_tokens, self.context = prompt_tokens, context


def is_text(prompt: str) -> bool:
    """Whether every character can be written: Python's strings may hold halves of surrogate pairs."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return False
    return True


class PromptEncoder:
    """Encodes prompts and conversations so that they fit a context of `limit` tokens.

    What does not fit is cut, or refused as `TooLong` where it must not be `cut`.
    """

    def __init__(self, tokenizer: Tokenizer, conventions: Conventions, limit: int) -> None:
        self._tokenizer, self._conventions, self._limit = tokenizer, conventions, limit

    def requests(self, prompt: Prompt, config: GenerationConfig, cut: bool = True) -> list[Request]:
        """`num_return_sequences` requests, each with its own chance. `UserError` for a conversation with a model that
        was not trained to chat."""
        if isinstance(prompt, str):
            ids = self.text(prompt, config, cut)
        else:
            check_history(prompt)
            template = self._tokenizer.chat_template
            if template is None or not self._conventions.chat_trained:
                raise UserError("this model was not trained to chat: give it a text to continue")
            ids = self.chat(template, prompt, config, cut)
        others = range(1, config.num_return_sequences)
        seeds = [config.seed, *(None if config.seed is None else derive_seed(config.seed, "sample", n) for n in others)]
        return [Request(ids, config, seed, self._conventions.stop) for seed in seeds]

    def text(self, prompt: str, config: GenerationConfig, cut: bool = True) -> list[int]:
        """Token ids of a text to continue; special tokens spelt in it are plain text."""
        if not is_text(prompt):
            raise UserError("prompt: holds bytes that are not UTF-8, or half a surrogate pair; give plain text")
        ids = [*self._conventions.beginning, *self._tokenizer.encode(prompt)]
        if not ids:
            if self._conventions.first is None:
                raise UserError("prompt: empty, and the tokenizer has no end-of-text token to start from; give a text")
            ids = [self._conventions.first]
        return self._fit(ids, config, cut)

    def chat(self, template: str, history: Sequence[Message], config: GenerationConfig, cut: bool = True) -> list[int]:
        """Token ids of a conversation; where it does not fit, the oldest messages but the system's go. What is left
        begins with the user, since templates want roles to take turns."""
        tried: dict[tuple[int, int], list[int]] = {}

        def fits(gap: tuple[int, int]) -> bool:
            messages = [*history[: gap[0]], *history[gap[1] :]]
            tried[gap] = encode_chat(self._tokenizer, template, messages, self._conventions.foreign)
            return len(tried[gap]) <= self._longest(config)

        gaps = _gaps(history)
        gap = gaps[0]
        if not fits(gap) and cut:
            gap = gaps[min(bisect_left(gaps, True, lo=1, key=fits), len(gaps) - 1)]
        return self._fit(tried[gap], config, cut)

    def _longest(self, config: GenerationConfig) -> int:
        """A prompt that has to be cut leaves room for the answer, up to half of the context."""
        return self._limit - min(config.max_new_tokens, self._limit // 2)

    def _fit(self, ids: list[int], config: GenerationConfig, cut: bool) -> list[int]:
        if len(ids) < self._limit:
            return ids
        if not cut:
            raise TooLong(len(ids), self._limit)
        kept = self._longest(config)
        LOG.warning("the prompt has %d tokens, the context %d: its last %d are used", len(ids), self._limit, kept)
        return ids[-kept:]


def _gaps(history: Sequence[Message]) -> list[tuple[int, int]]:
    """Messages [first, end) to leave out of a conversation: none, then more and more of them, at last the system's."""
    system = int(history[0]["role"] == "system")
    users = [place for place, message in enumerate(history) if message["role"] == "user"]
    gaps = [(system, place) for place in users if place > system]
    return [(0, 0), *gaps, *([(0, users[-1])] if system and users else [])]
