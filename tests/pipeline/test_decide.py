"""Decisions over parts that were written for the purpose: duplicates, splits, weights, accounts that close."""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PipelineConfig
from pipeline.dedup.exact import first_equal
from pipeline.dedup.minhash import ARRAY, signatures
from pipeline.dedup.normalized import ARRAY as NORMALIZED
from pipeline.dedup.normalized import normalized_hashes
from pipeline.publishing.decide import DROPPED, Decisions, decide
from pipeline.settings.inputs import Split
from pipeline.sources.base import Identity, InputOptions, Task
from pipeline.statistics.accounts import EXACT_DUPLICATE, KEPT, LEFT_OUT_BY_WEIGHT, NEAR_DUPLICATE
from pipeline.workspace.parts import DOCUMENT, Part, PartWriter, Summary
from shards.manifest import SPLITS

Texts = list[list[str]]


def decided(place: Path, texts: Texts, options: list[InputOptions] | None = None, **changes: Any) -> Decisions:
    """Decide over one part for each list of texts, each of an input of its own."""
    config = PipelineConfig(**{"val_fraction": 0.2, **changes})
    parts, tasks = [], []
    (place / "staging").mkdir()
    for number, group in enumerate(texts):
        data = [text.encode() for text in group]
        documents = np.zeros(len(data), DOCUMENT)
        documents["content_hash"] = np.array([hashlib.sha256(text).digest()[:16] for text in data], "V16")
        for name in ("extracted_bytes", "text_bytes", "tokens"):
            documents[name] = [len(text) for text in data]
        writer = PartWriter(place / "staging", place / str(number), np.dtype(np.uint16))
        writer.add(np.zeros(int(documents["tokens"].sum()), np.uint16), documents)
        if config.exact_dedup_normalized:
            writer.add_array(NORMALIZED, normalized_hashes(data))
        if config.near_dedup:
            writer.add_array(ARRAY, signatures(data, config))
        writer.commit(Summary(extracted_bytes=sum(map(len, data))))
        parts.append(Part(place / str(number)))
        chosen = options[number] if options else InputOptions()
        tasks.append(Task(number, f"{number}.jsonl", 0, 1, 1, Identity(1, "", ""), chosen))
    return decide(config, parts, tasks, place / "dedup")


def accounts_close(decisions: Decisions, texts: Texts) -> dict[str, Any]:
    """The accounts, after checking them against the texts."""
    account = decisions.accounts.close()
    assert account["read"]["records"] == sum(map(len, texts))
    assert account["read"]["bytes"] == sum(len(text.encode()) for group in texts for text in group)
    for group, one in zip(texts, decisions.source_accounts, strict=True):
        assert one.close()["read"]["records"] == len(group)
    return account


def article(number: int, start: int = 0) -> str:
    """120 words of a text of its own."""
    return " ".join(f"w{number}x{n}" for n in range(start, start + 120))


@given(st.lists(st.lists(st.sampled_from([bytes([n]) * 16 for n in range(5)]), max_size=9), max_size=4))
def test_first_equal_is_the_plain_one(groups: list[list[bytes]]) -> None:
    rows = [row[:8] + bytes([n % 2]) * 8 for group in groups for n, row in enumerate(group)]  # equal in one half only
    hashes = np.frombuffer(b"".join(rows), "<u8").reshape(-1, 2)
    expected = {place: rows.index(row) for place, row in enumerate(rows) if rows.index(row) != place}
    places, firsts = first_equal(hashes)
    assert dict(zip(places.tolist(), firsts.tolist(), strict=True)) == expected and places.tolist() == sorted(expected)


def test_outcomes_and_clusters(tmp_path: Path) -> None:
    near = article(1).replace("w1x50", "changed")
    texts = [[article(1), "a", article(2)], [near, "a", "b", near], [article(2), article(3), "a"]]
    decisions = decided(tmp_path, texts, near_dedup=True)
    assert [outcomes.tolist() for outcomes in decisions.outcomes] == [
        [KEPT, KEPT, KEPT],
        [NEAR_DUPLICATE, EXACT_DUPLICATE, KEPT, EXACT_DUPLICATE],
        [EXACT_DUPLICATE, KEPT, EXACT_DUPLICATE],
    ]
    for outcomes, splits in zip(decisions.outcomes, decisions.splits, strict=True):
        assert ((outcomes == KEPT) == (splits != DROPPED)).all()
    assert [(c.kind, c.size, c.members) for c in decisions.clusters] == [
        ("near", 3, [(0, 0), (1, 0), (1, 3)]),  # an exact copy of a near duplicate is in the cluster
        ("exact", 3, [(0, 1), (1, 1), (2, 2)]),
        ("exact", 2, [(0, 2), (2, 0)]),
    ]
    assert decisions.cluster_sizes == {2: 1, 3: 2}
    account = accounts_close(decisions, texts)
    assert {kind: entry["records"] for kind, entry in account["duplicate"]["reasons"].items()} == {
        "exact": 4,
        "near": 1,
    }


def test_normalized_hashes_compare_words_only(tmp_path: Path) -> None:
    texts = [
        ["The end.", "...", "THE  END", "end the", "春，眠", ""],
        ["the-end!", "...", "!!!", "春眠", "café", "Café?", ""],
    ]
    decisions = decided(tmp_path, texts, exact_dedup_normalized=True)
    assert [(outcomes == EXACT_DUPLICATE).tolist() for outcomes in decisions.outcomes] == [
        [False, False, True, False, False, False],
        [True, True, False, True, False, True, True],
    ]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "ab", "é", "春"]), max_size=4), max_size=12))
def test_normalized_hashes_are_equal_for_equal_words(texts: list[list[str]]) -> None:
    data = [" ".join(words).encode() for words in texts]
    hashes = [row.tobytes() for row in normalized_hashes(data)]
    for first, one in zip(texts, hashes, strict=True):
        assert (one == bytes(16)) == (not first)
        assert [other == one for other in hashes] == [second == first for second in texts]


def test_switches(tmp_path: Path) -> None:
    texts = [[article(1), article(1), article(1).replace("w1x50", "changed")]]
    switches: dict[str, dict[str, Any]] = {
        "neither": {"exact_dedup": False},
        "exact": {},
        "near": {"near_dedup": True, "exact_dedup": False},
        "strict": {"near_dedup": True, "near_dedup_threshold": 1.0},
    }
    kept = {
        name: decided(_made(tmp_path / name), texts, **changes).outcomes[0].tolist()
        for name, changes in switches.items()
    }
    assert kept == {
        "neither": [KEPT, KEPT, KEPT],
        "exact": [KEPT, EXACT_DUPLICATE, KEPT],
        "near": [KEPT, NEAR_DUPLICATE, NEAR_DUPLICATE],
        "strict": [KEPT, EXACT_DUPLICATE, KEPT],
    }


def _made(path: Path) -> Path:
    path.mkdir()
    return path


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4),
    st.lists(st.sampled_from([None, *SPLITS]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.3, 1.0, 1.0, 2.5]), min_size=4, max_size=4),
)
def test_splits_weights_and_accounts(groups: list[list[int]], splits: list[Split | None], weights: list[float]) -> None:
    texts = [[article(n) for n in group] for group in groups]
    options = [InputOptions(split=s, weight=w) for s, w in zip(splits, weights, strict=True)][: len(texts)]
    with TemporaryDirectory() as place:
        decisions = decided(Path(place), texts, options)
        account = accounts_close(decisions, texts)
    seen: set[str] = set()
    for number, group in enumerate(texts):
        repeats = None if decisions.repeats is None else decisions.repeats[number]
        for place_, text in enumerate(group):
            outcome, split = decisions.outcomes[number][place_], decisions.splits[number][place_]
            assert (outcome == EXACT_DUPLICATE) == (text in seen)  # the first survives, whatever its input's split
            seen.add(text)
            assert (outcome == KEPT) == (split != DROPPED)
            times = repeats[place_] if repeats is not None else int(outcome == KEPT)
            assert (times > 0) == (outcome == KEPT)
            wanted = options[number].split
            if outcome == KEPT and wanted is not None:
                assert SPLITS[split] == wanted
            if split > 0 or options[number].weight == 1:
                assert times <= 1 and outcome != LEFT_OUT_BY_WEIGHT  # weights concern train only
            elif outcome == KEPT and options[number].weight == 2.5:
                assert times in (2, 3)
    assert (decisions.repeats is None) == all(option.weight == 1 for option in options)
    left_out = sum(int((outcomes == LEFT_OUT_BY_WEIGHT).sum()) for outcomes in decisions.outcomes)
    assert account["rejected"]["records"] == left_out


def test_weight_shares(tmp_path: Path) -> None:
    texts = [[f"text {n}" for n in range(4001)], [f"other {n}" for n in range(4001)]]
    options = [InputOptions(weight=0.25), InputOptions(weight=1.5)]
    decisions = decided(tmp_path, texts, options, val_fraction=0.0)
    assert decisions.repeats is not None
    assert [float(repeats.mean()) for repeats in decisions.repeats] == pytest.approx([0.25, 1.5], abs=0.03)


def test_scratch_is_removed_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dedup.near.band_keys", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        decided(tmp_path, [[article(1), article(2)]], near_dedup=True)
    assert not (tmp_path / "dedup").exists()
