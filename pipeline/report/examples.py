"""Examples of documents: kept, rejected by reason, duplicates side by side, and records that could not be read."""

from __future__ import annotations

import base64
import difflib
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from foundation.page import html
from foundation.page.wording import escape, integer, plural, words
from shards.dataset import Dataset
from shards.manifest import SPLITS, Manifest
from tokenization.tokenizer import Tokenizer

Row = dict[str, Any]
Reasons = dict[str, dict[str, int]]

KEPT_SHOWN = 9
REASONS_SHOWN = 12
OF_EACH_REASON = 3
CLUSTERS_SHOWN = 8
MEMBERS_SHOWN = 3
TEXT_CHARS = 700
RAW_CHARS = 300
SCANNED_BYTES = 16 * 2**20
"""Of a file of examples the page looks at so much; the file itself has everything."""
_CONTEXT = 120
_UNITS = re.compile(r"[^\W\u2e80-\U0003ffff]+|\s+|.", re.DOTALL)
"""What a difference is told in: words, or single characters of unspaced scripts."""


def kept(output: Path, manifest: Manifest, tokenizer: Tokenizer) -> str:
    """Documents chosen evenly over the training split (or the first split that has any)."""
    split = next((name for name in SPLITS if manifest.splits[name].documents), None)
    if split is None:
        return ""
    dataset = Dataset.open(output, split)
    cards = []
    for number in _evenly(dataset.documents, KEPT_SHOWN):
        tokens, record = dataset.document(number), dataset.record(number)
        source = manifest.inputs[int(record["source"])].name
        label = f" · label {record['label']}" if int(record["label"]) >= 0 else ""
        head = f"{source} @ {integer(int(record['offset']))} · {plural(len(tokens), 'token')}{label}"
        cards.append(_card("kept", head, _document(tokens[: TEXT_CHARS * 2], dataset.spans(number), tokenizer)))
    note = f"{plural(len(cards), 'document')} chosen evenly over {split}."
    if any(dataset.shards[n].spans is not None for n in range(len(dataset.shards))):
        note += " Marked: what the loss counts in a chat."
    return html.section("Kept", _cards(cards), note)


def _document(tokens: npt.NDArray[np.generic], spans: npt.NDArray[np.int64] | None, tokenizer: Tokenizer) -> str:
    """The text of a document's first tokens. In a dataset of chats the special tokens show and the trained ones are
    marked; `spans` (n, 2) are their starts and ends."""
    if spans is None:
        return _clipped(tokenizer.decode(tokens.tolist()), TEXT_CHARS)
    edges = np.unique(np.clip(np.concatenate([[0, len(tokens)], spans.ravel()]), 0, len(tokens))).tolist()
    pieces, left = [], TEXT_CHARS
    for start, end in pairwise(edges):
        text = tokenizer.decode(tokens[start:end].tolist(), skip_special=False)
        trained = bool(((spans[:, 0] <= start) & (end <= spans[:, 1])).any()) and len(tokens) > end - start
        shown = _clipped(text, left)
        pieces.append(f"<mark>{shown}</mark>" if trained else shown)
        left -= len(text)
        if left <= 0:
            break
    return "".join(pieces)


def rejected(path: Path, reasons: Reasons, units: dict[str, str]) -> str:
    """Rejected documents of the most frequent reasons. `units`: what the records of each source are counted in."""
    return _by_reason("Rejected", "rejected", path, reasons, units, lambda row: _clipped(row["text"], TEXT_CHARS))


def quarantined(path: Path, reasons: Reasons, units: dict[str, str]) -> str:
    """Records that could not be read, as they are."""

    def body(row: Row) -> str:
        raw = base64.b64decode(row["raw_base64"])
        cut = len(raw) > 4 * RAW_CHARS or not row["raw_complete"]
        shown = _clipped(raw[: 4 * RAW_CHARS].decode(errors="backslashreplace"), RAW_CHARS, cut)
        return f'<p class="note">{escape(row["detail"])}</p><code>{shown}</code>'

    return _by_reason("Unreadable", "quarantined", path, reasons, units, body)


def units_of(manifest: Manifest) -> dict[str, str]:
    """By source: whether a number of a record is that of a line, a file or a row."""
    return {entry.name: {"bytes": "line", "files": "file"}.get(entry.pieces, "row") for entry in manifest.inputs}


def _by_reason(
    title: str, kind: str, path: Path, reasons: Reasons, units: dict[str, str], body: Callable[[Row], str]
) -> str:
    order = sorted(reasons, key=lambda reason: (-reasons[reason]["records"], reason))
    found: dict[str, list[Row]] = {reason: [] for reason in order[:REASONS_SHOWN]}
    for row in _rows(path):
        found.get(row["reason"], []).append(row)
    groups = []
    for reason, rows in found.items():
        if rows:
            chosen = [rows[place] for place in _evenly(len(rows), OF_EACH_REASON)]
            heads = [f"{row['source']} {units[row['source']]} {integer(row['line'])}" for row in chosen]
            cards = [_card(kind, head, body(row)) for head, row in zip(heads, chosen, strict=True)]
            number = plural(reasons[reason]["records"], "record")
            heading = f'<h3>{escape(words(reason))} <span class="soft">· {number}</span></h3>'
            groups.append(f'<div class="group">{heading}{_cards(cards)}</div>')
    note = f"The {REASONS_SHOWN} most frequent of {len(order)} reasons." if len(order) > REASONS_SHOWN else ""
    return html.section(title, "".join(groups), note)


def duplicates(path: Path) -> str:
    """Clusters of documents that say the same, near ones first since they are the ones to judge."""
    clusters = sorted(_rows(path), key=lambda cluster: cluster["kind"] != "near")
    near = [cluster for cluster in clusters if cluster["kind"] == "near"][: CLUSTERS_SHOWN - 2]
    exact = [cluster for cluster in clusters if cluster["kind"] == "exact"][: CLUSTERS_SHOWN - len(near)]
    groups = []
    for cluster in [*near, *exact]:
        heading = f"{cluster['kind']} duplicates · {plural(cluster['size'], 'document')}"
        groups.append(f'<div class="group"><h3>{escape(heading)}</h3>{_cards(_members(cluster))}</div>')
    return html.section("Duplicates", "".join(groups), "The first document of each cluster is kept.")


def _members(cluster: Row) -> list[str]:
    """The kept document of a cluster beside its next few; what differs from it is marked."""
    first, *others = cluster["members"][:MEMBERS_SHOWN]
    prefix = min((_common(first["text"], o["text"]) for o in others if o["text"] != first["text"]), default=0)
    start = _window(first["text"], prefix)
    window = [member["text"][start : start + TEXT_CHARS] for member in (first, *others)]
    shown = _marked(window[1], window[0]) if len(others) == 1 else escape(window[0])  # of a pair both sides are marked
    cards = [_card("kept", f"kept: {_place(first)}", _ellipsis(start) + shown)]
    for member, text in zip(others, window[1:], strict=True):
        cards.append(_card("duplicate", _place(member), _ellipsis(start) + _marked(window[0], text)))
    return cards


def _window(text: str, difference: int) -> int:
    """Where to begin to show `text` so that its first difference is seen, at a word where there are any."""
    if difference <= 2 * _CONTEXT:
        return 0
    start = difference - _CONTEXT
    blank = text.find(" ", start, start + _CONTEXT // 4)
    return blank + 1 if blank >= 0 else start


def _common(first: str, second: str) -> int:
    """Characters at the start that two texts have in common."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))


def _place(member: Row) -> str:
    return f"{member['source']} @ {integer(member['offset'])}"


def _ellipsis(start: int) -> str:
    return "… " if start else ""


def _marked(first: str, second: str) -> str:
    """`second` with what differs from `first` marked."""
    if first == second:
        return escape(second)
    left, right = _UNITS.findall(first), _UNITS.findall(second)
    pieces = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        text = escape("".join(right[start:end]))
        pieces.append(text if kind == "equal" or not text else f"<mark>{text}</mark>")
    return "".join(pieces)


def _evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` places, evenly spread."""
    limit = min(limit, count)
    return [(2 * place + 1) * count // (2 * limit) for place in range(limit)]


def _rows(path: Path) -> Iterator[Row]:
    if not path.exists():
        return
    used = 0
    with path.open("rb") as lines:
        for line in lines:
            used += len(line)
            if used > SCANNED_BYTES:
                return
            yield orjson.loads(line)


def _clipped(text: str, limit: int, cut: bool = False) -> str:
    return escape(text[:limit]) + ("…" if cut or len(text) > limit else "")


def _card(kind: str, head: str, body: str) -> str:
    return f'<article class="example {kind}"><header>{escape(head)}</header><div class="body">{body}</div></article>'


def _cards(cards: list[str]) -> str:
    return f'<div class="examples">{"".join(cards)}</div>'
