"""What a batch file asks for: a prompt or a conversation a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from generation.chat import Message, check_history
from generation.lines import BadLine, decoded, is_json_lines, json_object, raw_lines, text_under


@dataclass(frozen=True)
class Asked:
    """One line of the file: what it asks for, or what is wrong with it."""

    number: int
    """Counted from 1."""
    prompt: str | list[Message] | None
    error: str | None = None


def read_asked(path: Path) -> Iterator[Asked]:
    """The lines that are not blank: texts of a .txt file; of a .jsonl file objects with `prompt` or with `messages`,
    a conversation to answer. `UserError` for other files and missing ones."""
    json_lines = is_json_lines(path, "prompt", "a batch file", "--batch_file")
    for number, raw in raw_lines(path):
        try:
            text = decoded(number, raw)
            yield Asked(number, _prompt(json_object(text, "prompt")) if json_lines else text)
        except BadLine as problem:
            yield Asked(number, None, str(problem))


def _prompt(value: dict[str, Any]) -> str | list[Message]:
    messages = value.get("messages")
    if messages is None:
        return text_under("prompt", value)
    if "prompt" in value:
        raise BadLine("has both 'prompt' and 'messages'; keep one of them")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise BadLine("'messages' must be a list of objects with 'role' and 'content'")
    try:
        check_history(messages)
    except UserError as error:
        raise BadLine(str(error)) from None
    return [{"role": message["role"], "content": message["content"]} for message in messages]
