"""Options that are set by typing: `temperature 0.7`."""

from __future__ import annotations

import shlex

from pydantic import ValidationError

from foundation.errors import UserError, did_you_mean
from generation.config import GenerationConfig

NOT_TYPED = ("num_return_sequences", "logprobs")
"""Options that ask for more than one plain answer."""
TYPED = tuple(name for name in GenerationConfig.model_fields if name not in NOT_TYPED)
NOTHING = ("null", "none", "None")


def set_option(config: GenerationConfig, words: str) -> GenerationConfig:
    """`config` with one option changed by `words`, "NAME VALUE" or "NAME=VALUE"; stop texts are in quotation marks.

    `UserError` for what is no option or no value of it.
    """
    first, _, rest = words.strip().partition(" ")
    typed, equals, joined = first.partition("=")
    value = f"{joined} {rest}".strip() if equals else rest.strip().removeprefix("= ")
    name = GenerationConfig.key_of(typed.replace("-", "_"))
    if name not in TYPED:
        raise UserError(f"no option {typed!r} here{did_you_mean(name, TYPED)}; /show lists them")
    if not value:
        raise UserError(f"give a value: /set {name} {shown(getattr(config, name))}")
    try:
        return config.replace(**{name: _parsed(name, value)})
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{name} {value}: {problem}") from None


def _parsed(name: str, value: str) -> object:
    """A value for pydantic, which reads numbers and truth out of text."""
    if value in NOTHING:
        return () if name == "stop" else None
    if name != "stop":
        return value
    try:
        return tuple(shlex.split(value))
    except ValueError:
        raise UserError(f"stop {value}: a quotation mark is missing") from None


def shown(value: object) -> str:
    """A value as it is typed."""
    if isinstance(value, tuple):
        return " ".join(shlex.quote(str(item)) for item in value) or "null"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
