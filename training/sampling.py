"""Texts that the model writes at each validation, to see what it has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol

from foundation.errors import first_line
from foundation.logs import get_logger
from foundation.streams import derive_seed
from model.base import LanguageModel
from tokenization.tokenizer import Tokenizer
from training.config import LoggingConfig
from training.loggers import Sample
from training.saving.model_output import provenance
from training.saving.snapshot import Snapshot
from training.state import RunState

log = get_logger("training")


class TextWriter(Protocol):
    """Continues each of `prompts` by up to `tokens` tokens, prompt n by the chance of `seeds[n]`; an encoder fills the
    prompt's masks or tells its class. None: there is nothing to do with this prompt.

    `mateconv` says how the model was trained (see `training/saving/model_output.py`). Training may import nothing
    that generates: train.py brings the function.
    """

    def __call__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        mateconv: Mapping[str, Any],
        prompts: Sequence[str],
        tokens: int,
        seeds: Sequence[int],
    ) -> list[str | None]: ...


class Sampling:
    """Writes the samples of a run: the same prompts with the same chance each time, so that only the model differs.

    It changes nothing that the run computes with: no weight, no generator of torch, no mode. What goes wrong is a
    warning, and the run goes on without samples.
    """

    def __init__(self, write: TextWriter, snapshot: Snapshot, config: LoggingConfig, seed: int) -> None:
        self._write, self._snapshot = write, snapshot
        self._prompts, self._tokens = list(config.sample_prompts), config.sample_tokens
        self._seeds = [derive_seed(seed, "sample", place) for place in range(len(self._prompts))]

    def make(self, state: RunState) -> list[Sample]:
        """A sample for each prompt, by the weights that final/ would hold; none when none are asked for."""
        if not self._tokens or not self._prompts:
            return []
        model, data = self._snapshot.model, self._snapshot.data
        was_training = model.training
        average = self._snapshot.average
        try:
            with average.in_place() if average is not None else nullcontext():
                ours = provenance(self._snapshot.task, state)
                texts = self._write(model, data.tokenizer, ours, self._prompts, self._tokens, self._seeds)
        except Exception as error:  # a template, a full disk, memory: no reason to lose the run
            log.warning("samples could not be written (%s); the run goes on without them", first_line(error))
            self._prompts = []
            return []
        finally:
            model.train(was_training)
        pairs = zip(self._prompts, texts, strict=True)
        return [{"prompt": prompt, "text": text} for prompt, text in pairs if text is not None]
