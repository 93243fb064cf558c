"""What a decoder wrote, as values for JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from generation.chat import Message
from generation.completion import Completion, TokenLogprob


def answer_values(asked: str | Sequence[Message], completions: Sequence[Completion]) -> dict[str, Any]:
    """{"prompt" or "messages", "completion", "finish_reason", "prompt_tokens", "completion_tokens", "logprobs" where
    they were asked for}; of several texts the same under "completions", one each."""
    head = {"prompt": asked} if isinstance(asked, str) else {"messages": list(asked)}
    told = [_values(completion) for completion in completions]
    return {**head, **told[0]} if len(told) == 1 else {**head, "completions": told}


def _values(completion: Completion) -> dict[str, Any]:
    values = {
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
    }
    if completion.logprobs is None:
        return values
    logprobs = [{**_token(token), "top": [_token(other) for other in token.top]} for token in completion.logprobs]
    return {**values, "logprobs": logprobs}


def _token(token: TokenLogprob) -> dict[str, Any]:
    """A token's text is U+FFFD where it is part of a character: its id says which one it is."""
    return {"id": token.id, "token": token.text, "logprob": token.logprob}
