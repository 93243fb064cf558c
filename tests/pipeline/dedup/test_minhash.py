"""Signatures: independent of the batch, and estimates of the Jaccard similarity as good as their size allows."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedup.lsh import CHANCE, FOUND_AT_THRESHOLD, agreement, choose_bands, needed_agreement
from pipeline.dedup.minhash import has_words, signatures
from pipeline.settings.dedup import DedupSettings

SETTINGS = DedupSettings()


@given(st.lists(st.text(st.sampled_from("ab é春，.\n"), max_size=40), max_size=12), st.integers(1, 5))
def test_a_signature_does_not_depend_on_the_other_texts(texts: list[str], cut: int) -> None:
    data = [text.encode() for text in texts]
    whole = signatures(data, SETTINGS)
    assert whole.shape == (len(data), 128) and whole.dtype == np.uint8
    for start in range(0, len(data), cut):
        assert (signatures(data[start : start + cut], SETTINGS) == whole[start : start + cut]).all()
    backwards = signatures(data[::-1], SETTINGS)[::-1]
    assert (backwards == whole).all()


def test_known_signature() -> None:
    """Parts of earlier runs hold signatures: they must not change with a version of anything."""
    values = signatures([b"the quick brown fox jumps over the lazy dog", "春眠不覺曉處處聞啼鳥".encode()], SETTINGS)
    assert [bytes(row[:8]).hex() for row in values] == KNOWN


KNOWN = ["b69fa06e385ce341", "065eebffbac983df"]


def test_texts_without_words_resemble_nothing() -> None:
    values = signatures([b"", b" ...", "。！".encode(), b"a"], SETTINGS)
    assert has_words(values).tolist() == [False, False, False, True]


def test_more_documents_than_a_block() -> None:
    data = [f"document number {n} of them all".encode() for n in range(2500)]
    values = signatures(data, SETTINGS)
    assert (values[2100] == signatures(data[2100:2101], SETTINGS)[0]).all()
    assert len(np.unique(values, axis=0)) == len(data)


@pytest.mark.parametrize("size", [3, 12, 40, 150, 600])
@pytest.mark.parametrize("bins", [128, 67, 300])
def test_agreement_estimates_jaccard(size: int, bins: int) -> None:
    """Over many pairs the mean is the truth, and the spread no larger than that of independent permutations, for
    documents of fewer words than bins as well as of more."""
    chance, settings = random.Random(size), SETTINGS.model_copy(update={"near_dedup_permutations": bins})
    settings = settings.model_copy(update={"near_dedup_ngram": 1})
    pairs, truths = 400, []
    texts = []
    for _ in range(pairs):
        shared = chance.randrange(size + 1)
        words = chance.sample(range(10**6), 2 * size - shared)
        texts += [" ".join(f"w{w}" for w in words[:size]), " ".join(f"w{w}" for w in words[size - shared :])]
        truths.append(shared / (2 * size - shared))
    values = signatures([text.encode() for text in texts], settings)
    estimates = (agreement(values[::2], values[1::2]) / bins - CHANCE) / (1 - CHANCE)
    truth = np.array(truths)
    errors = estimates - truth
    expected = np.sqrt(truth * (1 - truth) / bins + CHANCE / bins)
    assert abs(errors.mean()) < 4 * np.sqrt((expected**2).sum()) / pairs + 0.004
    assert np.sqrt((errors**2).mean()) < 1.35 * np.sqrt((expected**2).mean())


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("permutations", [16, 67, 128, 512])
def test_bands(threshold: float, permutations: int) -> None:
    number, rows = choose_bands(permutations, threshold)
    assert number >= 1 and rows >= 1 and number * rows <= permutations
    found = 1 - (1 - threshold**rows) ** number
    assert found >= FOUND_AT_THRESHOLD or rows == 1
    assert 1 - (1 - max(threshold, 0.85) ** rows) ** number >= found
    assert needed_agreement(permutations, 1.0) == permutations
    assert permutations * threshold <= needed_agreement(permutations, threshold) <= permutations
