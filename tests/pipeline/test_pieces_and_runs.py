"""Documents cut into pieces and gathered into runs, against plain list code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.publishing import runs
from pipeline.publishing.pieces import cut
from pipeline.publishing.runs import Run, extras_of, read_runs
from pipeline.workspace.parts import DOCUMENT, PartWriter, Summary
from shards.documents import RECORD, SENTENCE, SPAN, check_rows

END = 7
Document = tuple[list[int], list[tuple[int, int]] | None, list[int] | None]
"""Content, spans or None for plain text, ends of sentences or None for one sentence."""


@st.composite
def documents(draw: st.DrawFn) -> Document:
    content = draw(st.lists(st.integers(0, 60000), max_size=25))
    size = len(content)
    borders = sorted(draw(st.sets(st.integers(0, size), max_size=6)))
    spans = list(zip(borders[::2], borders[1::2], strict=False)) if draw(st.booleans()) else None
    ends = sorted({*draw(st.sets(st.integers(1, size), max_size=4)), size}) if size and draw(st.booleans()) else None
    return content, spans, ends if ends and len(ends) > 1 else None


def make_run(chosen: list[Document], terminator: list[int]) -> Run:
    records = np.zeros(len(chosen), RECORD)
    records["offset"] = np.arange(len(chosen)) * 11
    spans = [(n, *span) for n, (_, rows, _) in enumerate(chosen) if rows is not None for span in rows or [(0, 0)]]
    ends = [(n, end) for n, (_, _, rows) in enumerate(chosen) for end in rows or []]
    return Run(
        np.array([token for content, _, _ in chosen for token in content + terminator], np.uint16),
        np.array([len(content) + len(terminator) for content, _, _ in chosen], np.int32),
        records,
        np.arange(100, 100 + len(chosen)).astype(np.uint32),
        {"spans": np.array(spans, SPAN), "sentences": np.array(ends, SENTENCE)},
    )


def rows_of(rows: np.ndarray, document: int) -> list[tuple[int, ...]]:
    return [tuple(row)[1:] for row in rows.tolist() if row[0] == document]


@settings(deadline=None, max_examples=200)
@given(st.lists(documents(), min_size=1, max_size=5), st.integers(2, 9), st.booleans())
def test_pieces_lose_nothing(chosen: list[Document], max_length: int, ended: bool):
    terminator = [END] if ended else []
    run = make_run(chosen, terminator)
    result = cut(run, max_length, len(terminator))
    capacity = max_length - len(terminator)
    expected: list[tuple[int, int, list[int]]] = []  # document, first token, content of each piece
    for number, (content, _, _) in enumerate(chosen):
        for first in range(0, max(1, len(content)), capacity):
            expected.append((number, first, content[first : first + capacity]))
    assert result.tokens.dtype == np.uint16 and result.lengths.dtype == np.int32
    assert result.tokens.tolist() == [token for _, _, content in expected for token in content + terminator]
    assert result.lengths.tolist() == [len(content) + len(terminator) for _, _, content in expected]
    assert result.records["offset"].tolist() == [number * 11 for number, _, _ in expected]
    assert result.text_bytes.tolist() == [0 if first else 100 + number for number, first, _ in expected]
    for name, rows in result.extras.items():
        assert check_rows(name, rows, result.lengths, len(terminator)) is None
    for piece, (number, first, content) in enumerate(expected):
        _, spans, ends = chosen[number]
        found = rows_of(result.extras["spans"], piece)
        trained = {token for start, end in found for token in range(first + start, first + end)}
        whole = {token for start, end in spans or [] for token in range(start, end)}
        assert bool(found) == (spans is not None)
        assert trained == whole & set(range(first, first + len(content)))
        borders = {first + end for (end,) in rows_of(result.extras["sentences"], piece)} or {first + len(content)}
        inside = {end for end in ends or [] if first < end < first + len(content)}
        assert borders == inside | {first + len(content)}


def test_short_documents_stay_as_they_are():
    run = make_run([([1, 2, 3], None, None), ([4], [(0, 1)], None)], [END])
    assert cut(run, 4, 1) is run


def write_part(place: Path, chosen: list[Document]) -> Any:
    run = make_run(chosen, [END])
    rows = np.zeros(len(chosen), DOCUMENT)
    rows["tokens"], rows["text_bytes"] = run.lengths, run.text_bytes
    rows["offset"], rows["label"] = run.records["offset"], -1
    writer = PartWriter(place, place / "part", np.dtype("<u2"))
    writer.add(run.tokens.astype("<u2"), rows)
    for name, table in run.extras.items():
        writer.add_array(name, table)
    writer.commit(Summary())
    from pipeline.workspace.parts import Part

    return Part(place / "part")


@settings(deadline=None, max_examples=60)
@given(st.data(), st.lists(documents(), min_size=1, max_size=9), st.integers(1, 40))
def test_runs_hold_the_chosen_documents(tmp_path_factory: pytest.TempPathFactory, data, chosen, limit: int):
    part = write_part(tmp_path_factory.mktemp("part"), chosen)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(chosen), max_size=len(chosen))))
    extras = extras_of([part.summary()])
    assert extras == ("spans", "sentences")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RUN_TOKENS", limit)
        found = list(read_runs(part, part.documents(), mask, 5, np.dtype("<u2"), extras))
    wanted = [document for document, keep in zip(chosen, mask, strict=True) if keep]
    place = 0
    for run in found:
        count = len(run.lengths)
        expected = make_run(wanted[place : place + count], [END])
        assert run.tokens.tolist() == expected.tokens.tolist() and run.lengths.tolist() == expected.lengths.tolist()
        assert {name: rows.tolist() for name, rows in run.extras.items()} == {
            name: rows.tolist() for name, rows in expected.extras.items()
        }
        assert set(run.records["source"].tolist()) == {5} and set(run.records["label"].tolist()) == {-1}
        place += count
    assert place == len(wanted)
    offsets = [n * 11 for n, keep in enumerate(mask) if keep]
    assert [offset for run in found for offset in run.records["offset"].tolist()] == offsets
