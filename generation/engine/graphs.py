"""The runner of CUDA: a decoding step is compiled, recorded as a CUDA graph, and replayed with one call a token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from foundation.logs import get_logger
from generation.engine.runner import EagerRunner, Part
from model.decoder import Decoder
from model.kv_cache import KVCache

LOG = get_logger("generation")
COLUMNS = 128  # attention looks at so many tokens more at a time
WARMUPS = 3  # runs before a recording: compilers and libraries settle


class StaticRows:
    """The first slots of a cache and its first columns, as a model's `cache`; positions are a tensor on the device.

    Every slot reads one token, at its position. Nothing here depends on the host, so that a graph can repeat it.
    """

    def __init__(self, cache: KVCache, columns: int, positions: Tensor) -> None:
        self._cache, self._columns, self._positions = cache, columns, positions  # positions (B,)
        self._rows = torch.arange(len(positions), device=positions.device)
        self._places = torch.arange(columns, device=positions.device)

    def begin(self, count: int) -> tuple[Tensor, Tensor]:
        """As `KVCache.begin`: positions (B, 1) and which columns are visible, (B, 1, 1, S)."""
        assert count == 1
        visible = self._places <= self._positions[:, None]  # (B, S)
        return self._positions[:, None], visible[:, None, None]

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """As `KVCache.update`, for (B, G, 1, D)."""
        return self._store(self._cache.keys[layer], keys), self._store(self._cache.values[layer], values)

    def _store(self, held: Tensor, new: Tensor) -> Tensor:
        held[self._rows, :, self._positions] = new[:, :, 0]
        return held[: len(self._rows), :, : self._columns]

    def finish(self) -> None:
        """The host counts."""


@dataclass
class Recording:
    """A decoding step for a number of slots and columns."""

    tokens: Tensor
    """(B,) int64; what is here is read."""
    positions: Tensor
    """(B,) int64."""
    logits: Tensor
    """(B, V); what came out."""
    replay: Callable[[], None]


class GraphRunner(EagerRunner):
    """Single tokens by a replayed graph, prompts as `EagerRunner` does.

    A step reads the first slots, a power of two of them, whether they have texts or not: what an idle slot writes
    lies behind what it holds, where the next token goes. Recordings hold for one place of the cache in memory. They
    share theirs: one replays at a time, and its logits are used before the next one does.
    """

    def __init__(self, model: Decoder, cache: KVCache) -> None:
        super().__init__(model, cache)
        self._recordings: dict[tuple[int, int], Recording] = {}
        self._recorded_at = 0
        self._memory: Any = None  # the recordings' pool
        self._compiled: Callable[[Tensor, Tensor, int], Tensor] | None = None
        self._fails = False

    def read(self, parts: Sequence[Part]) -> Tensor:
        """As `Runner.read`."""
        if self._fails or any(len(part.tokens) != 1 or part.wanted != 1 for part in parts):
            return super().read(parts)
        cache, slots = self._cache, [part.slot for part in parts]
        cache.reserve(1, max(cache.lengths) + 1)  # idle slots write behind their last token, too
        try:
            recording = self._recording(1 << max(slots).bit_length(), max(cache.lengths[slot] for slot in slots) + 1)
        except RuntimeError as error:  # of the compiler or of recording
            LOG.warning("a decoding step cannot be compiled here (%s): generation goes on without", error)
            self._fails = True
            return super().read(parts)
        count = len(recording.tokens)
        ids = [0] * count
        for part in parts:
            ids[part.slot] = part.tokens[0]
        numbers = torch.tensor([ids, cache.lengths[:count]])
        numbers = numbers.pin_memory() if recording.tokens.is_cuda else numbers
        recording.tokens.copy_(numbers[0], non_blocking=True)
        recording.positions.copy_(numbers[1], non_blocking=True)
        recording.replay()
        for slot in slots:
            cache.lengths[slot] += 1
        return recording.logits if slots == list(range(count)) else recording.logits[slots]

    def step(self, tokens: Tensor, positions: Tensor, columns: int) -> Tensor:
        """Logits (B, V) after tokens (B,) at positions (B,) of the first B slots, attending to `columns` at most."""
        rows = StaticRows(self._cache, columns, positions)
        return self._model.head(self._model.model(tokens[:, None], rows, None)[:, 0])

    def _recording(self, slots: int, columns: int) -> Recording:
        """The recording for at least so many slots and columns, made where there is none yet."""
        cache = self._cache
        cache.reserve(slots, 0)
        if cache.keys.data_ptr() != self._recorded_at:
            self._recordings.clear()
            self._memory = None  # a pool ends with the last recording in it
            self._recorded_at = cache.keys.data_ptr()
        columns = min(-(-columns // COLUMNS) * COLUMNS, cache.capacity)
        if (slots, columns) not in self._recordings:
            self._recordings[slots, columns] = self._record(slots, columns)
        return self._recordings[slots, columns]

    def _record(self, slots: int, columns: int) -> Recording:
        device = self._cache.keys.device
        tokens = torch.zeros(slots, dtype=torch.int64, device=device)
        positions = torch.tensor(self._cache.lengths[:slots], device=device)  # harmless places to write to
        if self._compiled is None:  # not sooner: the compiler takes seconds to import
            self._compiled = torch.compile(self.step)
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARMUPS):
                self._compiled(tokens, positions, columns)
        torch.cuda.current_stream(device).wait_stream(side)
        if self._memory is None:
            self._memory = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._memory):
            logits = self._compiled(tokens, positions, columns)
        return Recording(tokens, positions, logits, graph.replay)
