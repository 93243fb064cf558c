"""Conversations as files: JSON with `messages`, as chat datasets have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from foundation import atomic
from foundation.errors import UserError
from generation.chat import Message, check_history


def save_conversation(path: Path, messages: Sequence[Message]) -> None:
    """Write {"messages": [{"role", "content"}]}. `UserError` where the path holds anything else than such a file."""
    if path.exists():
        try:
            load_conversation(path)
        except UserError:
            raise UserError(f"{path}: exists and is no saved conversation; give another name") from None
    atomic.write_json(path, {"messages": list(messages)})


def load_conversation(path: Path) -> list[Message]:
    """The messages of a file of `save_conversation`. `UserError` says what is wrong with it."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}: not JSON; load a file that /save wrote") from None
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise UserError(f"{path}: holds no list of messages; load a file that /save wrote")
    try:
        check_history(messages)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return [{"role": message["role"], "content": message["content"]} for message in messages]
