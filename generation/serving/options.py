"""From a request's fields to the options of a generation: what it does not say is as the server was started."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from generation.config import GenerationConfig
from generation.serving.errors import ApiError
from generation.serving.protocol import ChatBody, Options

_SAME = (
    "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed",
    "preset", "do_sample", "top_k", "min_p", "repetition_penalty", "no_repeat_ngram_size",
)  # fmt: skip


def longest(body: Options) -> int | None:
    """The most tokens that the request asks for, if it says so."""
    newer = body.max_completion_tokens if isinstance(body, ChatBody) else None
    if newer is not None and body.max_tokens not in (None, newer):
        raise ApiError(400, "max_tokens and max_completion_tokens differ; send one of them", param="max_tokens")
    return body.max_tokens if newer is None else newer


def options_of(body: Options, usual: GenerationConfig) -> GenerationConfig:
    """`usual` with what `body` asks for; `ApiError` for what excludes each other."""
    changes: dict[str, Any] = {name: value for name in _SAME if (value := getattr(body, name)) is not None}
    if body.temperature and body.do_sample is None:
        changes["do_sample"] = True  # also where the server was started greedy
    if body.stop is not None:
        changes["stop"] = tuple(body.stop)
    if (most := longest(body)) is not None:
        changes["max_new_tokens"] = most
    changes |= {"num_return_sequences": body.n, "logprobs": _logprobs(body)}
    try:
        return usual.replace(**changes)
    except ValidationError as error:
        first = error.errors()[0]
        raise ApiError(400, f"{first['loc'][0] if first['loc'] else 'the options'}: {first['msg']}") from None


def _logprobs(body: Options) -> int | None:
    """How many likeliest tokens are told at each place; None: not even the chosen one's probability."""
    if not isinstance(body, ChatBody):
        told: int | None = getattr(body, "logprobs", None)
        return told
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs: goes with logprobs: true", param="top_logprobs")
    return (body.top_logprobs or 0) if body.logprobs else None
