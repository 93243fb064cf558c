"""Content fingerprints: SHA-256 (FIPS 180-4), so that `sha256sum` can check every one of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def of_bytes(data: bytes | memoryview) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Hex SHA-256 of a file's content; reads it once, in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form (sorted keys, no spaces, UTF-8).

    Surrogates, which names of files have in Python where they are not UTF-8 (PEP 383), count as they are.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return of_bytes(text.encode(errors="surrogatepass"))


def is_one(value: object) -> bool:
    """Whether a value is a fingerprint as these functions give them."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def short(fingerprint: str, length: int = 8) -> str:
    """The first characters of a fingerprint, for names people read."""
    return fingerprint[:length]
