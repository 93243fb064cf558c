"""From a record of named fields to a document: its text (a field or a template), its label, or a conversation."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from foundation.errors import UserError
from pipeline.sources.base import LARGEST_LABEL, BadRecord, Batch, Conversation, InputOptions, common_fault
from shards.documents import NO_LABEL

CHAT_FIELDS = ("messages", "conversations")
"""Fields looked for, in this order, when a record has no text field."""

ROLES = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""Roles of a message as they are written (OpenAI; below ShareGPT) -> as the pipeline knows them."""
ROLES |= {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant", "model": "assistant"}
ROLES |= {"function": "tool", "function_response": "tool", "observation": "tool", "developer": "system"}


class Unreadable(Exception):
    """A record gives no document: a short reason, and a detail for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Extracted(NamedTuple):
    """A document: text in UTF-8, class label, and the messages of a chat record."""

    text: bytes
    label: int
    conversation: Conversation | None


def parse_template(template: str) -> list[tuple[str, str | None]]:
    """(literal, field) pairs of a template like "{title}\\n\\n{text}"; doubled braces are literal ones. A field is
    only ever looked up by its whole name: no attributes, no indices, no formats. Raises `UserError`."""
    wrong = f"text_template {template!r}"
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UserError(f"{wrong}: {error}; write it like '{{title}}: {{text}}'") from None
    for _, field, spec, conversion in parsed:
        if field == "" or spec or conversion:
            raise UserError(f"{wrong}: a place is a field's name in braces and nothing else, like {{title}}")
    if all(field is None for _, field, _, _ in parsed):
        raise UserError(f"{wrong}: it names no field; write it like '{{title}}: {{text}}'")
    return [(literal, field) for literal, field, _, _ in parsed]


class Extractor:
    """Makes documents of records, as an input's options say."""

    def __init__(self, options: InputOptions) -> None:
        self._text_field, self._label_field = options.text_field, options.label_field
        self._messages_field, self._label = options.messages_field, options.label
        self._numbers = {name: number for number, name in enumerate(options.labels)}
        self._template = parse_template(options.text_template) if options.text_template is not None else None

    @property
    def fields(self) -> set[str]:
        """Names of all fields that may be needed."""
        wanted: list[str | None] = [self._label_field]
        if self._messages_field is not None:
            wanted.append(self._messages_field)
        elif self._template is not None:
            wanted += [field for _, field in self._template]
        else:
            wanted += [self._text_field, *CHAT_FIELDS]
        return {field for field in wanted if field is not None}

    @property
    def plain(self) -> bool:
        """Whether the text is one field as it is."""
        return self._messages_field is None and self._template is None

    def extract(self, record: Mapping[str, Any]) -> Extracted:
        """The document of `record`. Raises `Unreadable`."""
        label = self._label
        if self._label_field is not None and (value := record.get(self._label_field)) is not None:
            label = self.label(value)
        if self._messages_field is not None:
            if self._messages_field not in record:
                raise _missing(self._messages_field, record, "missing_messages_field")
            return _chat(record[self._messages_field], label)
        if self._template is not None:
            return Extracted(self._fill(self._template, record), label, None)
        if self._text_field in record:
            text = record[self._text_field]
            if type(text) is not str:
                raise Unreadable("text_not_a_string", f"field {self._text_field!r} holds a {type(text).__name__}")
            return Extracted(text.encode(), label, None)
        for field in CHAT_FIELDS:
            if field in record:
                return _chat(record[field], label)
        raise _missing(self._text_field, record, "missing_text_field")

    @staticmethod
    def _fill(template: list[tuple[str, str | None]], record: Mapping[str, Any]) -> bytes:
        pieces: list[str] = []
        for literal, field in template:
            pieces.append(literal)
            if field is None:
                continue
            if field not in record:
                raise _missing(field, record, "missing_text_field")
            value = record[field]
            if type(value) is not str and type(value) is not int:
                raise Unreadable("text_not_a_string", f"field {field!r} holds a {type(value).__name__}")
            pieces.append(str(value))
        return "".join(pieces).encode()

    def label(self, value: Any) -> int:
        """The number of a label: integers as they are (-1: none), names by their place in `labels`."""
        if isinstance(value, str):
            if value in self._numbers:
                return self._numbers[value]
            if not value.strip():
                return NO_LABEL
            if not (value.isascii() and value.removeprefix("-").isdecimal()):
                raise Unreadable(
                    "unknown_label",
                    f"label {value[:100]!r} is not in `labels`; list the names of the classes there in the order of"
                    " their numbers, or set label_field to null",
                )
            value = int(value[:20])
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            raise Unreadable("label_not_an_integer", f"the label is a {type(value).__name__}; set label_field to null")
        if value == NO_LABEL:
            return NO_LABEL
        if not 0 <= value <= (len(self._numbers) - 1 if self._numbers else LARGEST_LABEL):
            raise Unreadable("label_out_of_range", f"label {value}")
        return int(value)


def _missing(field: str, record: Mapping[str, Any], reason: str) -> Unreadable:
    names = ", ".join(map(repr, record))
    return Unreadable(reason, f"no field {field!r}; the record has {names[:1000] or 'none'}")


def _chat(messages: Any, label: int) -> Extracted:
    """A conversation of messages, each {"role", "content"} (OpenAI) or {"from", "value"} (ShareGPT)."""
    if not isinstance(messages, list):
        raise Unreadable("messages_not_a_list", f"the messages are a {type(messages).__name__}")
    if not messages:
        raise Unreadable("no_messages", "the list of messages is empty")
    turns = tuple(_turn(number, message) for number, message in enumerate(messages))
    return Extracted(b"\n".join([content for _, content in turns]), label, turns)


def _turn(number: int, message: Any) -> tuple[str, bytes]:
    if not isinstance(message, dict):
        raise Unreadable("message_not_an_object", f"message {number} is a {type(message).__name__}")
    written = message.get("role", message.get("from"))
    role = ROLES.get(written) if isinstance(written, str) else None
    if role is None:
        known = ", ".join(ROLES)
        raise Unreadable("unknown_role", f"message {number} has the role {str(written)[:100]!r}, not one of {known}")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):  # OpenAI's list of parts
        texts: list[Any] = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        texts = [text for text in texts if isinstance(text, str)]
        if len(texts) == len(content):
            content = "\n".join(texts)
    if not isinstance(content, str):
        raise Unreadable("message_not_text", f"the content of message {number} is a {type(content).__name__}")
    return role, content.encode()


def extract_json(data: bytes, size: int, unit: str, extractor: Extractor) -> Extracted:
    """The document of one JSON object; `unit` is what people call the place it stands in. Raises `Unreadable`."""
    if fault := common_fault(data, size, unit):
        raise Unreadable(*fault)
    try:
        record = orjson.loads(data)
    except ValueError as error:
        try:
            data.decode()
        except UnicodeDecodeError as cause:
            raise Unreadable("invalid_utf8", str(cause)) from None
        raise Unreadable("invalid_json", str(error)) from None
    if not isinstance(record, dict):
        raise Unreadable("not_an_object", f"the {unit} holds a {type(record).__name__}")
    return extractor.extract(record)


class Collector:
    """Collects a batch, record by record. `batch` may be appended to directly."""

    def __init__(self) -> None:
        self.batch = Batch()
        self._chats: dict[int, Conversation] = {}

    def add(self, document: Extracted, offset: int, line: int) -> None:
        """Append a document."""
        if document.conversation is not None:
            self._chats[len(self.batch.texts)] = document.conversation
        self.batch.add(document.text, offset, line, document.label)

    def refuse(self, fault: Unreadable, offset: int, line: int, size: int, raw: bytes) -> None:
        """Append a record that gives no document."""
        self.batch.bad.append(BadRecord(offset, line, size, fault.reason, fault.detail, raw))

    def take(self) -> Batch:
        """The batch so far; a new one begins."""
        batch, chats = self.batch, self._chats
        if chats:
            batch.conversations = [chats.get(place, ()) for place in range(len(batch.texts))]
        self.batch, self._chats = Batch(), {}
        return batch
