"""Which tokens a model has to guess, and what it sees in their place: dynamic masking as a pure function of samples.

Of the tokens to guess most become the mask token, some a random one, the rest stay as they are (80/10/10; BERT, Devlin
et al. 2019, section 3.1), chosen anew for every sample (RoBERTa, Liu et al. 2019) and on request by whole words.

B rows, T tokens a row, K places for tokens to guess in a row: more can never be, so that shapes are the same always.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation import noise
from shards.token_stream import IGNORE
from tokenization.tokenizer import Tokenizer
from tokenization.word_starts import WordStarts
from training.settings.objective import ObjectiveSettings

LONGEST_WORD = 8
"""Tokens of a word that are masked together; a longer word counts as several."""

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Masked:
    """A batch with tokens to guess. Places that a row does not use point to its first token and have the target
    IGNORE."""

    inputs: Integers  # (B, T)
    places: Integers  # (B*K,) in the flattened rows, ascending where used
    targets: Integers  # (B*K,)
    predicted: int  # targets that count


class Masking:
    """Chooses and hides tokens; role and other special tokens are neither hidden nor put in others' place."""

    def __init__(self, tokenizer: Tokenizer, settings: ObjectiveSettings, seed: int) -> None:
        """`UserError` for a tokenizer without a mask token, or with no token but special ones."""
        self._mask = tokenizer.roles.require("mask", f"task {settings.task}", tokenizer.where)
        self._settings, self._seed = settings, seed
        special = tokenizer.special_ids | set(tokenizer.roles.present().values())
        ids = range(tokenizer.vocab_size)
        real = [token for token in ids if token not in special and tokenizer.id_to_token(token) is not None]
        self._real = np.array(real, np.int64)
        self._maskable = np.zeros(tokenizer.vocab_size, np.bool_)
        self._maskable[self._real] = True
        self._words = WordStarts(tokenizer) if settings.whole_word_mask else None

    def capacity(self, length: int) -> int:
        """K for rows of `length` tokens: the share of a whole row, rounded up, and what a last word may go beyond."""
        beyond = LONGEST_WORD - 1 if self._words else 0
        return min(length, math.ceil(self._settings.mlm_probability * length) + beyond)

    def apply(self, inputs: Integers, numbers: Integers, seed: int | None = None) -> Masked:
        """Hide tokens of `inputs` (B, T), which stay as they are; rows are the samples `numbers` (B,).

        A function of the two and of the seed (`seed`, where another one is to decide). A row of n maskable tokens has
        mlm_probability * n of them hidden, rounded up or down at random so that the mean is exact; each is as likely.
        """
        rows, length = inputs.shape
        seed = self._seed if seed is None else seed
        random = noise.words(seed, "masked tokens", numbers, length + 2)
        maskable = self._maskable[inputs]
        wanted = self._settings.mlm_probability * maskable.sum(axis=1) + noise.uniform(random[:, length])
        count = wanted.astype(np.int64)
        if self._words is None:
            chosen = _tokens(maskable, count, random[:, :length])
        else:
            starts = _word_starts(maskable, self._words.starts(inputs))
            chosen = _whole_words(maskable, starts, count, random[:, :length], noise.uniform(random[:, length + 1]))
        row, place = np.nonzero(chosen)
        capacity = self.capacity(length)
        used = np.bincount(row, minlength=rows)
        slot = row * capacity + np.arange(len(row)) - (np.cumsum(used) - used)[row]
        flat = row * length + place
        places = np.repeat(np.arange(rows) * length, capacity)
        targets = np.full(rows * capacity, IGNORE, np.int64)
        places[slot], targets[slot] = flat, inputs.ravel()[flat]
        hidden = inputs.copy()
        stand_in = noise.words(seed, "stand-ins", numbers, capacity).ravel()[slot]
        hidden.ravel()[flat] = self._stand_ins(targets[slot], stand_in)
        return Masked(hidden, places, targets, len(row))

    def _stand_ins(self, tokens: Integers, random: noise.Words) -> Integers:
        """What is seen in place of `tokens` (n,)."""
        kind = (random & np.uint64(0xFFFFFFFF)) * 2.0**-32  # the upper half draws the token
        drawn = self._real[noise.below(random, len(self._real))]
        masked = self._settings.mask_replace_prob
        shown = np.where(kind < masked + self._settings.random_replace_prob, drawn, tokens)
        return np.where(kind < masked, self._mask, shown)


def _tokens(maskable: Flags, count: Integers, random: noise.Words) -> Flags:
    """Choose `count` (B,) of the `maskable` tokens (B, T) of each row."""
    rows, length = maskable.shape
    bits = np.uint64(length.bit_length())
    keys = (random >> bits << bits) | np.arange(length, dtype=np.uint64)  # no two of a row are equal
    keys[~maskable] = np.iinfo(np.uint64).max
    limits = np.sort(keys, axis=1)[np.arange(rows), np.maximum(count, 1) - 1]
    chosen: Flags = (keys <= limits[:, None]) & (count > 0)[:, None]
    return chosen


def _word_starts(maskable: Flags, begins: Flags) -> Flags:
    """Where words to be masked as a whole start (B, T): also after what is never masked, and within long words."""
    starts = begins.copy()
    starts[:, 1:] |= ~maskable[:, :-1]
    places = np.arange(maskable.size).reshape(maskable.shape)
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    cut: Flags = maskable & ((places - first) % LONGEST_WORD == 0)
    return cut


def _whole_words(
    maskable: Flags, starts: Flags, count: Integers, random: noise.Words, edge: npt.NDArray[np.float64]
) -> Flags:
    """Choose words of each row in random order until `count` (B,) tokens are reached. The word that goes beyond is
    taken as often as makes the mean exact, by `edge` (B,) in [0, 1)."""
    length = maskable.shape[1]
    first = np.flatnonzero(starts)
    if not len(first):
        return starts
    word = np.cumsum(starts.ravel()) - 1  # of each token, where it is maskable
    sizes = np.bincount(word[maskable.ravel()], minlength=len(first))
    row = first // length
    order = np.lexsort((random.ravel()[first], row))
    row, sizes = row[order], sizes[order]
    before = np.cumsum(sizes) - sizes
    before -= before[np.searchsorted(row, row)]  # within the row
    room = count[row] - before
    taken = np.empty(len(first), np.bool_)
    taken[order] = edge[row] * sizes < room  # a word that fits always does: edge < 1
    chosen: Flags = maskable & taken[word].reshape(maskable.shape)
    return chosen
