"""A tokenizer as the project uses it: the `tokenizers` library is the truth, roles are known, text is only text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from foundation import atomic, fingerprint
from foundation.errors import UserError
from tokenization.definition import unspelt, with_kind
from tokenization.files import (
    CARRIED_FILES,
    CHAT_TEMPLATE,
    CONFIG_JSON,
    TOKENIZER_JSON,
    VOCAB_TXT,
    find_files,
    with_tokenizer_json,
)
from tokenization.roles import Roles, find_roles


class Tokenizer:
    """Encode and decode text. Special tokens spelt in text are plain text unless `special=True` says otherwise."""

    def __init__(self, files: Mapping[str, bytes], where: str) -> None:
        self._files = {name: files[name] for name in CARRIED_FILES if name in files}
        self.where = where
        self._definition = self._files[TOKENIZER_JSON]
        self._tokens = self._build(self._definition)
        self.config = self._read_config()
        self.roles: Roles = find_roles(self.config, self._tokens.token_to_id)
        self._mark_roles_special()
        self._plain = self._for_text()

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Load what `path` names: a directory with `tokenizer.json` or `vocab.txt`, either file, or a hub repository.

        See `tokenization.files.find_files`. Raises `UserError` when there is none or it is damaged.
        """
        files, where = find_files(path)
        return cls(files, where)

    def with_chat_template(self, template: str) -> Tokenizer:
        """The same tokenizer with another chat template."""
        if self.chat_template == template:
            return self
        return Tokenizer({**self._files, CHAT_TEMPLATE: template.encode()}, self.where)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str = "tokenizer") -> Tokenizer:
        """Build from file contents, as a model directory or a checkpoint carries them; BERT's may be a vocab.txt."""
        if TOKENIZER_JSON not in files and VOCAB_TXT not in files:
            found = ", ".join(sorted(files)) or "no tokenizer files"
            raise UserError(
                f"{where}: {TOKENIZER_JSON} is missing (found: {found}); transformers makes one of other kinds:"
                " AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY)"
            )
        return cls(with_tokenizer_json(dict(files), where), where)

    @property
    def _kind(self) -> str:
        return type(self._tokens.model).__name__

    def _build(self, definition: bytes, special: bool = False) -> tokenizers.Tokenizer:
        try:
            built = tokenizers.Tokenizer.from_buffer(definition)
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{self.where}/{TOKENIZER_JSON}: not a readable tokenizer ({error})") from None
        built.no_padding()
        built.no_truncation()
        built.encode_special_tokens = not special
        return built

    def _read_config(self) -> dict[str, Any]:
        try:
            value = json.loads(self._files.get(CONFIG_JSON, b"{}"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.where}/{CONFIG_JSON}: not valid JSON ({error})") from None
        return value if isinstance(value, dict) else {}

    def _mark_roles_special(self) -> None:
        """A token with a role is special even where its file forgot to say so: text must never turn into it."""
        added = self._tokens.get_added_tokens_decoder()
        forgotten = {i for i in self.roles.present().values() if i in added and not added[i].special}
        if forgotten:
            definition = json.loads(self._definition)
            for token in definition["added_tokens"]:
                token["special"] |= token["id"] in forgotten
            self._definition = json.dumps(definition, ensure_ascii=False).encode()
            self._tokens = self._build(self._definition)

    def _for_text(self) -> tokenizers.Tokenizer:
        """What encodes text: it never gives a special token, whatever the text spells."""
        if self._kind not in ("Unigram", "WordLevel", "WordPiece"):
            return self._tokens
        special = {self._tokens.id_to_token(token): token for token in self.special_ids}
        found = [name for name, token in special.items() if name is not None and token in self._ids(self._tokens, name)]
        return self._build(unspelt(self.definition, found)) if found else self._tokens

    def _ids(self, engine: tokenizers.Tokenizer, text: str) -> list[int]:
        try:
            return engine.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            raise self._told(error) from None

    @cached_property
    def _with_special(self) -> tokenizers.Tokenizer:
        return self._build(self._definition, special=True)

    @cached_property
    def vocab_size(self) -> int:
        """Largest token id plus one: the rows an embedding needs."""
        return max(self._tokens.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `tokenizer.json` as canonical JSON, so that indentation does not matter."""
        return fingerprint.of_json(json.loads(self._files[TOKENIZER_JSON]))

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of the tokens marked special."""
        return frozenset(i for i, token in self._tokens.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def opening(self) -> list[int]:
        """Ids that `transformers` puts before a text (Llama's beginning of text); those of our own put none there."""
        text, framed = (self._tokens.encode("a", add_special_tokens=framing).ids for framing in (False, True))
        places = range(len(framed) - len(text) + 1)
        return framed[: next((place for place in places if framed[place : place + len(text)] == text), 0)]

    @cached_property
    def byte_level(self) -> bool:
        """Whether tokens are spelt in GPT-2's alphabet, a printable character for each byte."""
        return (self.json().get("decoder") or {}).get("type") == "ByteLevel"

    @property
    def chat_template(self) -> str | None:
        """The Jinja chat template, from its own file or from the configuration; of several the one named default."""
        if CHAT_TEMPLATE in self._files:
            return self._files[CHAT_TEMPLATE].decode()
        template = self.config.get("chat_template")
        if isinstance(template, list):
            named = [
                each.get("template") for each in template if isinstance(each, dict) and each.get("name") == "default"
            ]
            template = named[-1] if named else None
        return template if isinstance(template, str) else None

    @cached_property
    def definition(self) -> bytes:
        """`tokenizer.json`, every token with a role marked special, the model's kind named."""
        return with_kind(self._definition, self._kind)

    def json(self) -> dict[str, Any]:
        """`definition` decoded."""
        value: dict[str, Any] = json.loads(self.definition)
        return value

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Token ids of `text`. With `special`, spelt-out special tokens become their ids (templates, never users)."""
        return self._ids(self._with_special if special else self._plain, text)

    def encode_batch(self, texts: Sequence[str]) -> list[npt.NDArray[np.uint32]]:
        """Token ids of each text, as `encode` gives them; uses the library's own threads."""
        return [np.array(ids, dtype=np.uint32) for ids in self.encode_ids(texts)]

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode_batch` as lists, which is faster for many short texts."""
        try:
            return [encoding.ids for encoding in self._plain.encode_batch_fast(list(texts), add_special_tokens=False)]
        except BaseException as error:
            raise self._told(error) from None

    def _told(self, error: BaseException) -> BaseException:
        """A panic of the library, which is no `Exception`, in words: a pattern that tries too long, say."""
        if type(error).__name__ != "PanicException":
            return error
        return UserError(f"{self.where}/{TOKENIZER_JSON}: fails on this text ({error}); use another tokenizer")

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of `ids`; undecodable bytes become U+FFFD."""
        return self._tokens.decode([int(i) for i in ids], skip_special_tokens=skip_special)

    def token_to_id(self, token: str) -> int | None:
        """Id of a token by its name in the vocabulary."""
        return self._tokens.token_to_id(token)

    def id_to_token(self, token: int) -> str | None:
        """Name of a token in the vocabulary."""
        return self._tokens.id_to_token(token)

    def files(self) -> dict[str, bytes]:
        """File names and contents to copy wherever this tokenizer has to go."""
        return dict(self._files)

    def save(self, directory: Path) -> None:
        """Write the tokenizer's files into `directory`, each atomically."""
        for name, data in self._files.items():
            atomic.write_bytes(directory / name, data)
