"""Masking: rates over a million positions, what is never touched, whole words, and a function of the sample alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from shards.token_stream import IGNORE
from tokenization.tokenizer import Tokenizer
from tokenization.train import train_tokenizer
from tokenization.word_starts import WordStarts
from training.config import TrainingConfig
from training.tasks.masking import LONGEST_WORD, Masked, Masking

TEXTS = [
    "the film was great, unforgettably so; the cast was not. 床前明月光。",
    "a movie (of sorts) I'd rather forget!",
] * 3
KINDS = {"wordpiece": 60, "wordlevel": 400, "bpe": 400, "unigram": 400}
examples = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {kind: train_tokenizer(kind, TEXTS, size) for kind, size in KINDS.items()}


def masking(tokenizer: Tokenizer, seed: int = 3, **changes: Any) -> Masking:
    return Masking(tokenizer, TrainingConfig(task="mlm", **changes), seed)


def roles(tokenizer: Tokenizer) -> list[int]:
    return sorted(tokenizer.special_ids | set(tokenizer.roles.present().values()))


def rows_of(tokenizer: Tokenizer, rows: int, length: int, seed: int = 0, special: float = 0.1) -> np.ndarray:
    """Random rows of the vocabulary; about every tenth token has a role."""
    random = np.random.default_rng(seed)
    tokens = random.integers(0, tokenizer.vocab_size, (rows, length))
    return np.where(random.random((rows, length)) < special, random.choice(roles(tokenizer), (rows, length)), tokens)


def check(tokenizer: Tokenizer, inputs: np.ndarray, masked: Masked) -> tuple[np.ndarray, np.ndarray]:
    """What holds of any masked batch; the places that count and the tokens that stood there."""
    rows, length = inputs.shape
    assert len(masked.places) == len(masked.targets) and len(masked.places) % rows == 0
    used = masked.targets != IGNORE
    assert used.sum() == masked.predicted
    places, tokens = masked.places[used], masked.targets[used]
    assert len(np.unique(places)) == len(places) and (np.diff(places) > 0).all()
    owner = np.repeat(np.arange(rows), len(masked.places) // rows)
    assert (masked.places // length == owner).all()  # each row's places lie in it
    assert (masked.places[~used] % length == 0).all()
    np.testing.assert_array_equal(inputs.ravel()[places], tokens)
    untouched = np.delete(np.arange(inputs.size), places)
    np.testing.assert_array_equal(masked.inputs.ravel()[untouched], inputs.ravel()[untouched])
    assert not np.isin(tokens, roles(tokenizer)).any()
    shown = masked.inputs.ravel()[places]
    drawn = shown[(shown != tokenizer.roles.mask) & (shown != tokens)]
    assert not np.isin(drawn, roles(tokenizer)).any() and (drawn < tokenizer.vocab_size).all()
    return places, tokens


@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 6),
    st.integers(1, 70),
    st.floats(0.01, 0.99),
    st.booleans(),
    st.integers(0, 2**40),
    st.sampled_from([0.0, 0.1, 1.0]),
)
@examples
def test_any_batch_is_masked_soundly(
    tokenizers: dict[str, Tokenizer],
    kind: str,
    rows: int,
    length: int,
    rate: float,
    whole: bool,
    first: int,
    special: float,
):
    tokenizer = tokenizers[kind]
    inputs = rows_of(tokenizer, rows, length, first % 1000, special)
    before, numbers = inputs.copy(), np.arange(first, first + rows)
    made = masking(tokenizer, mlm_probability=rate, whole_word_mask=whole)
    masked = made.apply(inputs, numbers)
    assert len(masked.places) == rows * made.capacity(length)
    places, _ = check(tokenizer, inputs, masked)
    np.testing.assert_array_equal(inputs, before)
    maskable = (~np.isin(inputs, roles(tokenizer))).sum(axis=1)
    for row, count in enumerate(maskable.tolist()):
        found = int((places // length == row).sum())
        beyond = LONGEST_WORD - 1 if whole else 0
        assert math.floor(rate * count) - beyond <= found <= math.ceil(rate * count) + beyond
    last = made.apply(inputs[-1:], numbers[-1:])  # alone: the same
    np.testing.assert_array_equal(last.inputs[0], masked.inputs[-1])
    np.testing.assert_array_equal(last.targets, masked.targets[-len(last.targets) :])


@pytest.mark.parametrize("whole", [False, True])
def test_over_a_million_positions_the_shares_are_those_of_the_settings(tokenizers: dict[str, Tokenizer], whole: bool):
    """1,310,720 positions in 10,240 rows: each share within four standard errors of what was set, the rate itself far
    closer; tokens that are masked and drawn follow the vocabulary."""
    tokenizer = tokenizers["wordpiece"]
    rate, mask, random = 0.17, 0.75, 0.15
    made = masking(
        tokenizer, mlm_probability=rate, mask_replace_prob=mask, random_replace_prob=random, whole_word_mask=whole
    )
    rows, length = 10_240, 128
    inputs = rows_of(tokenizer, rows, length)
    masked = made.apply(inputs, np.arange(rows) + 10**6)
    places, tokens = check(tokenizer, inputs, masked)
    maskable = ~np.isin(inputs, roles(tokenizer))
    total, hidden = int(maskable.sum()), len(places)
    slack = 2.0 if whole else 0.5  # standard deviation of a row's count, at most
    assert abs(hidden - rate * total) < 4 * slack * math.sqrt(rows)
    assert abs(hidden - rate * total) < 4 * math.sqrt(rate * (1 - rate) * total)  # within that of independent draws
    shown = masked.inputs.ravel()[places]
    real = tokenizer.vocab_size - len(roles(tokenizer))
    for found, share in (
        (shown == tokenizer.roles.mask, mask),
        (shown == tokens, 1 - mask - random + random / real),
        ((shown != tokens) & (shown != tokenizer.roles.mask), random * (1 - 1 / real)),
    ):
        assert abs(found.mean() - share) < 4 * math.sqrt(share * (1 - share) / hidden)
    drawn = shown[(shown != tokens) & (shown != tokenizer.roles.mask)]
    even(
        np.bincount(drawn, minlength=tokenizer.vocab_size)[np.setdiff1d(range(tokenizer.vocab_size), roles(tokenizer))]
    )
    chance = np.zeros(inputs.size)
    chance[places] = 1
    by_place = chance.reshape(rows, length).sum(axis=0) / maskable.sum(axis=0)
    if not whole:  # every place of a row as likely as any other
        assert np.abs(by_place - rate).max() < 5 * math.sqrt(rate * (1 - rate) / (0.85 * rows))


def even(counts: np.ndarray) -> None:
    """Chi-squared: as unequal as this, or more, evenly drawn counts are once in 30,000 times (normal limit)."""
    expected = counts.mean()
    statistic, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


def test_words_are_masked_as_wholes_and_as_often_as_others(tokenizers: dict[str, Tokenizer]):
    tokenizer = tokenizers["wordpiece"]
    text = np.array(tokenizer.encode(TEXTS[0] * 3))
    inputs = np.tile(np.array([[tokenizer.roles.cls, *text, tokenizer.roles.sep]]), (6000, 1))
    masked = masking(tokenizer, whole_word_mask=True).apply(inputs, np.arange(6000))
    places, _ = check(tokenizer, inputs, masked)
    hidden = np.zeros(inputs.shape, bool)
    hidden.ravel()[places] = True
    maskable = ~np.isin(inputs[0], roles(tokenizer))
    begins = WordStarts(tokenizer).starts(inputs[:1])[0]
    sizes: dict[int, list[float]] = {}
    for start in np.flatnonzero(begins & maskable).tolist():
        end = start + 1
        while maskable[end] and not begins[end]:
            end += 1
        for first in range(start, end, LONGEST_WORD):  # longer ones count as several
            part = hidden[:, first : min(first + LONGEST_WORD, end)]
            assert (part.all(axis=1) == part.any(axis=1)).all()
            sizes.setdefault(part.shape[1], []).append(part[:, 0].mean())
    assert max(sizes) == LONGEST_WORD and min(sizes) == 1
    for rates in sizes.values():
        assert abs(np.mean(rates) - 0.15) < 0.02


def test_a_sample_has_its_mask_whatever_came_before(tokenizers: dict[str, Tokenizer]):
    tokenizer = tokenizers["bpe"]
    inputs = np.repeat(rows_of(tokenizer, 1, 64), 50, axis=0)
    numbers = np.arange(50)
    made = masking(tokenizer)
    all_at_once = made.apply(inputs, numbers)
    assert len(np.unique(all_at_once.inputs, axis=0)) == 50  # each sample its own, of one text
    resumed = masking(tokenizer).apply(inputs[20:], numbers[20:])
    np.testing.assert_array_equal(resumed.inputs, all_at_once.inputs[20:])
    shuffled = made.apply(inputs, numbers[::-1])
    np.testing.assert_array_equal(shuffled.inputs, all_at_once.inputs[::-1])
    other = masking(tokenizer, seed=4)
    assert (other.apply(inputs, numbers).inputs != all_at_once.inputs).any(axis=1).all()
    np.testing.assert_array_equal(other.apply(inputs, numbers, seed=3).inputs, all_at_once.inputs)


def test_shares_of_all_and_nothing(tokenizers: dict[str, Tokenizer]):
    tokenizer = tokenizers["wordlevel"]
    inputs = rows_of(tokenizer, 4, 60)
    for mask, random in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)):
        masked = masking(tokenizer, mask_replace_prob=mask, random_replace_prob=random).apply(inputs, np.arange(4))
        places, tokens = check(tokenizer, inputs, masked)
        shown = masked.inputs.ravel()[places]
        assert (shown == tokenizer.roles.mask).all() == (mask == 1)
        assert (shown == tokens).all() == (mask == random == 0)
    nothing = np.full((2, 7), tokenizer.roles.pad)
    masked = masking(tokenizer).apply(nothing, np.arange(2))
    assert masked.predicted == 0 and (masked.inputs == nothing).all()


def test_a_tokenizer_without_a_mask_token_is_named(tokenizers: dict[str, Tokenizer]):
    files = tokenizers["bpe"].files()
    files["tokenizer.json"] = files["tokenizer.json"].replace(b"<|mask|>", b"<|musk|>")
    files.pop("tokenizer_config.json")
    with pytest.raises(UserError, match="task mlm needs a token for the role 'mask'"):
        masking(Tokenizer.from_files(files))
