"""What decides a dataset's bytes beside input, settings and tokenizer: versions of this program and of libraries."""

from __future__ import annotations

import unicodedata
from importlib import metadata
from typing import Any

import tokenizers

from foundation.page.wording import differences

MAPPING_VERSION = 1
"""Raised by hand with every change after which equal input and settings give other bytes."""
_OPTIONAL = {"repair_mojibake": "ftfy", "languages": "lingua-language-detector"}
"""By the setting that asks for it, a library that has a say in what a document becomes."""


def versions(settings: dict[str, Any]) -> dict[str, str]:
    """The versions that a dataset with these `settings` would be made with now. A part made with others is made again,
    so that a dataset never mixes them."""
    found = {
        "mapping": str(MAPPING_VERSION), "tokenizers": tokenizers.__version__, "unicode": unicodedata.unidata_version
    }  # fmt: skip
    return found | {package: _installed(package) for name, package in _OPTIONAL.items() if settings.get(name)}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # told where it is first needed
        return "missing"


def told(made: dict[str, str], now: dict[str, str]) -> str:
    """What differs between the versions `made` and `now`, for messages."""
    return differences(made, now, ("unknown", "unused"))
