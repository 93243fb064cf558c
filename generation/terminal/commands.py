"""What can be typed besides texts: /help, /undo, /set temperature 0.7."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError, did_you_mean
from generation.terminal.dialogue import Dialogue
from generation.terminal.options import TYPED, set_option, shown
from generation.terminal.saved import load_conversation, save_conversation

CLEAR = "clear"
_COMMAND = re.compile(r"/([A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """Something that the loop does."""

    usage: str
    """What follows its name."""
    what: str
    act: Callable[[Dialogue, str], Iterable[str]]
    """Does it, and gives what to show."""


def command_in(text: str) -> tuple[str, str] | None:
    """The name and the rest of a command; None for a text to answer. A path like /usr/bin is a text."""
    if text.lower() == CLEAR:
        return CLEAR, ""
    found = _COMMAND.fullmatch(text)
    return (found[1].lower(), (found[2] or "").strip()) if found else None


def text_to_say(text: str) -> str:
    """A text without the slash that kept it from being a command."""
    return text[1:] if text.startswith("//") else text


def obey(dialogue: Dialogue, name: str, rest: str) -> Iterable[str]:
    """Do what the command `name` says; what to show. `UserError` for an unknown or a wrong one."""
    command = COMMANDS.get(name)
    if command is None:
        raise UserError(
            f"no command /{name}{did_you_mean(name, COMMANDS, '/')}; /help lists them, //{name} says it to the model"
        )
    if rest and not command.usage:
        raise UserError(f"/{name} takes nothing behind it")
    if not rest and command.usage:
        raise UserError(f"/{name} {command.usage}: {command.what}")
    return command.act(dialogue, rest)


def _help(dialogue: Dialogue, _: str) -> Iterable[str]:
    width = max(len(f"{name} {command.usage}") for name, command in COMMANDS.items())
    for name, command in COMMANDS.items():
        yield f"  /{f'{name} {command.usage}':<{width}}  {command.what}\n"
    yield '  """ … """ or \\ at the end of a line: a text of several lines. Ctrl-C stops an answer.\n'
    yield "  exit, quit or q leaves."


def _clear(dialogue: Dialogue, _: str) -> Iterable[str]:
    dialogue.forget()
    return ["(forgotten)"]


def _undo(dialogue: Dialogue, _: str) -> Iterable[str]:
    return [f"(forgotten: {dialogue.undo()})"]


def _retry(dialogue: Dialogue, _: str) -> Iterable[str]:
    if dialogue.config.greedy:
        raise UserError("the answer would be the same: no chance is in it; /set temperature 0.8 or do_sample true")
    return dialogue.retry()


def _save(dialogue: Dialogue, name: str) -> Iterable[str]:
    if not dialogue.messages:
        raise UserError("nothing was said yet")
    path = _path(name)
    save_conversation(path, dialogue.messages)
    return [f"({path}: {len(dialogue.messages)} messages)"]


def _load(dialogue: Dialogue, name: str) -> Iterable[str]:
    dialogue.messages = load_conversation(_path(name))
    for message in dialogue.messages:
        yield f"{message['role']}: {message['content']}\n"
    yield f"({len(dialogue.messages)} messages)"


def _path(name: str) -> Path:
    """`~` is the user's home; of users that are unknown it is a name like others, where `Path.expanduser` raises."""
    return Path(os.path.expanduser(name))


def _set(dialogue: Dialogue, words: str) -> Iterable[str]:
    before, dialogue.config = dialogue.config, set_option(dialogue.config, words)
    changed = [name for name in TYPED if getattr(before, name) != getattr(dialogue.config, name)]
    return [", ".join(f"{name} {shown(getattr(dialogue.config, name))}" for name in changed) or "(as it was)"]


def _show(dialogue: Dialogue, _: str) -> Iterable[str]:
    kind = "answers" if dialogue.generator.can_chat else "was not trained to chat: continues texts"
    yield f"The model {kind}; {len(dialogue.messages)} messages so far.\n"
    yield "\n".join(f"  {name} {shown(getattr(dialogue.config, name))}" for name in TYPED)


COMMANDS: Mapping[str, Command] = {
    "help": Command("", "this list", _help),
    CLEAR: Command("", "forget the conversation; `clear` does, too", _clear),
    "undo": Command("", "forget the last text and its answer", _undo),
    "retry": Command("", "another answer to the last text", _retry),
    "save": Command("FILE", "write the conversation to a JSON file", _save),
    "load": Command("FILE", "go on with a saved conversation", _load),
    "set": Command("NAME VALUE", "change an option: /set temperature 0.7", _set),
    "show": Command("", "the options and how much was said", _show),
}
