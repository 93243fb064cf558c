"""Token roles: which token ends a text, pads, masks, separates, opens and closes a chat turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from foundation.errors import UserError
from foundation.page.wording import differences

TRAINED_ROLES: dict[str, str] = {
    "end_of_text": "<|endoftext|>",
    "pad": "<|pad|>",
    "turn_start": "<|im_start|>",
    "turn_end": "<|im_end|>",
    "mask": "<|mask|>",
    "cls": "<|cls|>",
    "sep": "<|sep|>",
}
"""Special tokens of the tokenizers trained here, in id order from 0."""

_CONFIG_KEYS = {
    "end_of_text": "eos_token", "pad": "pad_token", "mask": "mask_token",
    "cls": "cls_token", "sep": "sep_token", "unk": "unk_token",
}  # fmt: skip


def role_config() -> dict[str, str]:
    """What `tokenizer_config.json` says of TRAINED_ROLES."""
    return {
        "bos_token": TRAINED_ROLES["end_of_text"],
        **{key: TRAINED_ROLES[role] for role, key in _CONFIG_KEYS.items() if role in TRAINED_ROLES},
    }


_KNOWN_NAMES: dict[str, tuple[str, ...]] = {
    "end_of_text": ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>"),
    "pad": ("<|pad|>", "<pad>", "[PAD]"),
    "mask": ("<|mask|>", "<mask>", "[MASK]"),
    "cls": ("<|cls|>", "[CLS]"),
    "sep": ("<|sep|>", "[SEP]"),
    "unk": ("<unk>", "[UNK]"),
    "turn_start": ("<|im_start|>",),
    "turn_end": ("<|im_end|>",),
}


def changed(old: Mapping[str, int], new: Mapping[str, int]) -> str:
    """Which roles differ, in words; empty where none does. `old` and `new` hold the ids of the roles there are."""
    return differences(old, new, ("none", "none"))


@dataclass(frozen=True)
class Roles:
    """Token ids by role; None where the tokenizer has no such token."""

    end_of_text: int | None = None
    pad: int | None = None
    mask: int | None = None
    cls: int | None = None
    sep: int | None = None
    unk: int | None = None
    turn_start: int | None = None
    turn_end: int | None = None

    def require(self, role: str, purpose: str, where: object) -> int:
        """The id of `role`, or a `UserError` naming what needs it."""
        value: int | None = getattr(self, role)
        if value is None:
            raise UserError(
                f"{where}: {purpose} needs a token for the role {role!r}, and this tokenizer has none "
                f"(looked for {_CONFIG_KEYS.get(role, 'a token')} in tokenizer_config.json and for"
                f" {', '.join(_KNOWN_NAMES[role])}); add it to tokenizer_config.json or use another tokenizer"
            )
        return value

    @property
    def terminator(self) -> list[int]:
        """The ids every document of a dataset ends with: end of text, or none where the tokenizer has no such token."""
        return [] if self.end_of_text is None else [self.end_of_text]

    def present(self) -> dict[str, int]:
        """The roles the tokenizer has."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def find_roles(config: Mapping[str, Any], token_to_id: Callable[[str], int | None]) -> Roles:
    """Roles from `tokenizer_config.json` first, then from well-known token names in the vocabulary."""
    found: dict[str, int] = {}
    for role, names in _KNOWN_NAMES.items():
        declared = config.get(_CONFIG_KEYS.get(role, ""))
        if isinstance(declared, Mapping):  # transformers writes either text or {"content": text, …}
            declared = declared.get("content")
        for name in ([declared] if isinstance(declared, str) else []) + list(names):
            token = token_to_id(name)
            if token is not None:
                found[role] = token
                break
    return Roles(**found)
