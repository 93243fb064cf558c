"""Global batch, microbatch and processes: the same samples a step however they are split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from training.batching.split import DEFAULT_BATCH, Split
from training.config import TrainingConfig
from training.devices.distributed import World


def saved(global_batch: int, microbatch: int | None = None, **training: Any) -> dict[str, Any]:
    config = TrainingConfig(**training).model_dump(mode="json")
    return {"config": {"training": config}, "global_batch": global_batch, "state": {"microbatch": microbatch}}


def split(ranks: int = 1, content: dict[str, Any] | None = None, **training: Any) -> Split:
    return Split(TrainingConfig(**training), World(size=ranks), content)


def test_a_fresh_run_multiplies_and_a_named_global_batch_decides_the_accumulation():
    plain = split(3, batch_size=5, accumulation_steps=7)
    assert plain.global_batch == 105 and plain.plan(5).accumulation_steps == 7
    named = split(3, batch_size=5, global_batch_size=45)
    assert named.global_batch == 45 and named.plan(5).accumulation_steps == 3
    assert split(3, global_batch_size=45, batch_size="auto").sizes() == [1, 3, 5, 15]
    assert split(2, batch_size="auto", accumulation_steps=3).global_batch == DEFAULT_BATCH * 3 * 2


def test_a_global_batch_that_does_not_divide_is_refused_with_the_sizes_that_do():
    with pytest.raises(UserError, match=r"batch_size 4 does not divide; take one of \[1, 3, 5, 15\], or auto"):
        split(3, batch_size=4, global_batch_size=45)
    with pytest.raises(UserError, match="take a multiple of 3"):
        split(3, batch_size=1, global_batch_size=44)


@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2), (4, 6), (6, 4)])
def test_another_number_of_processes_keeps_the_samples_of_a_step(before: int, now: int):
    first = split(before, batch_size=6, accumulation_steps=2)
    resumed = split(
        now, saved(first.global_batch, batch_size=6, accumulation_steps=2), batch_size=2, accumulation_steps=2
    )
    assert resumed.global_batch == first.global_batch == 12 * before

    def samples(whole: Split, ranks: int, size: int) -> list[int]:
        plans = [replace(whole.plan(size), rank=rank) for rank in range(ranks)]
        parts = [plan.sample_numbers(24, m) for plan in plans for m in range(plan.accumulation_steps)]
        return sorted(np.concatenate(parts).tolist())

    assert samples(first, before, 6) == samples(resumed, now, 2) == list(range(24, 24 + 12 * before))


def test_what_was_asked_for_is_not_adapted_in_silence():
    """A changed accumulation, or a microbatch that does not divide, shows as another global batch."""
    assert split(1, saved(6, batch_size=3, accumulation_steps=2), batch_size=3, accumulation_steps=4).global_batch == 12
    assert split(1, saved(3, batch_size=3), batch_size=5).global_batch == 5
    assert split(5, saved(6, batch_size=6), batch_size=6).global_batch == 30


def test_the_same_microbatch_shrinks_to_what_divides_the_share_of_more_processes():
    for ranks, size in ((2, 8), (4, 4), (8, 2)):
        resumed = split(ranks, saved(16, batch_size=16), batch_size=16)
        assert resumed.global_batch == 16 and resumed.microbatch == size
    assert split(2, saved(30, batch_size=6, accumulation_steps=5), batch_size=6, accumulation_steps=5).microbatch == 5


def test_a_recorded_microbatch_is_used_again_until_another_one_is_named():
    content = saved(12, microbatch=4, batch_size=None)
    assert split(1, content, batch_size="auto").microbatch == 4
    assert split(2, content, batch_size="auto").microbatch == 3  # the largest of 6's divisors that is no larger
    halved = saved(12, microbatch=6, batch_size=12)
    assert split(1, halved, batch_size=12).plan(6).accumulation_steps == 2
    assert split(1, halved, batch_size=12).microbatch == 6
    assert split(1, halved, batch_size=3).microbatch == 3
    assert split(1, halved, batch_size="auto").microbatch is None


def test_what_ran_out_of_memory_before_bounds_the_microbatch():
    def bounded(most: int, ranks: int = 1, content: dict[str, Any] | None = None, **training: Any) -> Split:
        return Split(TrainingConfig(**training), World(size=ranks), content, most)

    assert bounded(5, batch_size=12).plan(4).accumulation_steps == 3
    assert bounded(5, batch_size=12).microbatch == 4
    assert bounded(5, batch_size=3).microbatch == 3
    assert bounded(5, batch_size="auto").microbatch == 4  # of 16
    assert bounded(16, batch_size="auto").microbatch is None
    assert bounded(3, 2, global_batch_size=24, batch_size=12).plan(3).accumulation_steps == 4
    assert bounded(1, content=saved(12, microbatch=4, batch_size=None), batch_size="auto").microbatch == 1
