"""What a CUDA graph repeats, run on a CPU; the recording itself is tested in tests/generation/test_gpu.py."""

from __future__ import annotations

from collections.abc import Callable

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
