"""From a user's text to the token ids that a model continues, as it met texts in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from foundation.errors import UserError
from foundation.logs import get_logger
from generation.chat import Message, encode_chat
from generation.config import GenerationConfig
from tokenization.tokenizer import Tokenizer

LOG = get_logger("generation")


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
        )


def is_text(prompt: str) -> bool:
    """Whether every character can be written: Python's strings may hold halves of surrogate pairs."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        return False
    return True


class PromptEncoder:
    """Encodes prompts and conversations so that they fit a context of `limit` tokens."""

    def __init__(self, tokenizer: Tokenizer, conventions: Conventions, limit: int) -> None:
        self._tokenizer, self._conventions, self._limit = tokenizer, conventions, limit

    def text(self, prompt: str, config: GenerationConfig) -> list[int]:
        """Token ids of a text to continue; special tokens spelt in it are plain text."""
        if not is_text(prompt):
            raise UserError("prompt: holds bytes that are not UTF-8, or half a surrogate pair; give plain text")
        ids = [*self._conventions.beginning, *self._tokenizer.encode(prompt)]
        if not ids:
            if self._conventions.first is None:
                raise UserError("prompt: empty, and the tokenizer has no end-of-text token to start from; give a text")
            ids = [self._conventions.first]
        return self._fit(ids, config)

    def chat(self, template: str, history: Sequence[Message], config: GenerationConfig) -> list[int]:
        """Token ids of a conversation; where it does not fit, the oldest messages but the system's go."""
        messages = list(history)
        ids = encode_chat(self._tokenizer, template, messages)
        while len(ids) > self._longest(config) and len(messages) > 1:
            del messages[1 if messages[0]["role"] == "system" and len(messages) > 2 else 0]
            ids = encode_chat(self._tokenizer, template, messages)
        return self._fit(ids, config)

    def _longest(self, config: GenerationConfig) -> int:
        """A prompt that has to be cut leaves room for the answer, up to half of the context."""
        return self._limit - min(config.max_new_tokens, self._limit // 2)

    def _fit(self, ids: list[int], config: GenerationConfig) -> list[int]:
        if len(ids) < self._limit:
            return ids
        kept = self._longest(config)
        LOG.warning("the prompt has %d tokens, the context %d: its last %d are used", len(ids), self._limit, kept)
        return ids[-kept:]
