"""What a CUDA graph repeats, run on a CPU; the recording itself is tested in tests/generation/test_gpu.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from unittest.mock import MagicMock

import pytest
import torch

from generation.engine.graphs import GraphRunner, Recording
from generation.engine.runner import EagerRunner, Part
from model.decoder import Decoder
from model.kv_cache import KVCache

Make = Callable[..., Decoder]


class PlainRunner(GraphRunner):
    """Runs the step instead of recording it."""

    def _record(self, slots: int, columns: int) -> Recording:
        tokens, positions = torch.zeros(slots, dtype=torch.int64), torch.zeros(slots, dtype=torch.int64)
        recording = Recording(tokens, positions, torch.empty(0), lambda: None)

        def replay() -> None:
            recording.logits = self.step(tokens, positions, columns)

        recording.replay = replay
        return recording


@torch.inference_mode()
def test_steps_over_all_slots_give_each_text_its_own_logits(make_model: Make) -> None:
    model = make_model(max_position_embeddings=331)
    texts = torch.randint(0, 331, (3, 331), generator=torch.Generator().manual_seed(1)).tolist()
    caches = [KVCache(model.config, 5, 140, device=model.device, dtype=model.dtype) for _ in range(2)]
    plain, graph = EagerRunner(model, caches[0]), PlainRunner(model, caches[1])
    begun = {4: 120, 0: 3, 2: 17}  # slots with texts; slot 3 is empty, slot 1 holds a text that has ended
    for runner in (plain, graph):
        runner.read([Part(1, texts[2][:30]), *[Part(s, texts[n][:c]) for n, (s, c) in enumerate(begun.items())]])
    for step in range(12):
        places = [(slot, n, count + step) for n, (slot, count) in enumerate(begun.items())]
        parts = [Part(slot, texts[n][place : place + 1]) for slot, n, place in places]
        assert (graph.read(parts) - plain.read(parts)).abs().max() < 1e-4
    assert [cache.lengths[:5] for cache in caches] == [[15, 30, 29, 0, 132]] * 2
    ended = [Part(1, texts[2][30:31])]
    assert (graph.read(ended) - plain.read(ended)).abs().max() < 1e-4  # nothing was written over its tokens
    assert sorted(graph._recordings) == [(2, 128), (8, 128), (8, 140)]


@torch.inference_mode()
def test_recordings_share_memory_until_the_cache_moves(make_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that had recordings and has none any more takes no new one."""
    cuda = MagicMock()
    cuda.graph_pool_handle.side_effect = range(99)
    monkeypatch.setattr("torch.cuda", cuda)
    monkeypatch.setattr("torch.compile", lambda step: step)
    model = make_model(max_position_embeddings=331)
    cache = KVCache(model.config, 5, 331, device=model.device, dtype=model.dtype)
    runner = GraphRunner(model, cache)
    made: list[tuple[int, int]] = []  # where the cache lay, and the pool
    for slots, tokens in ((1, 1), (3, 1), (3, 1), (1, 129), (2, 200), (5, 1)):
        cache.reserve(slots, tokens)
        before = len(cuda.graph.call_args_list)
        runner._recording(1 << (slots - 1).bit_length(), tokens)
        made += [(cache.keys.data_ptr(), call.kwargs["pool"]) for call in cuda.graph.call_args_list[before:]]
    moved = [now[0] != last[0] for last, now in itertools.pairwise(made)]
    assert [now[1] != last[1] for last, now in itertools.pairwise(made)] == moved
    assert True in moved and False in moved
