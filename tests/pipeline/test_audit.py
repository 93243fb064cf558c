"""A fast engine that is wrong is found, and what is published is what the reference gives."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from foundation.logs import ROOT
from pipeline.config import PipelineConfig
from pipeline.process import process
from tokenization.engines import audit
from tokenization.engines.base import Borders, Ids, terminated
from tokenization.engines.fast import build as build_real
from tokenization.engines.reference import ReferenceEngine
from tokenization.tokenizer import Tokenizer

from .conftest import digests


class WrongEngine(ReferenceEngine):
    """Right on every probe; in documents that hold "river" the last token is another one."""

    name = "wrong"

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        ids, borders = super().encode_batch(texts)
        for place, text in enumerate(texts):
            if b"river" in text:
                ids[borders[place + 1] - 1] ^= 1
        return terminated(ids, borders, terminator)


class WrongOnProbes(ReferenceEngine):
    """Wrong on everything that is not ASCII."""

    name = "wrong-on-probes"

    def encode_batch(self, texts: list[bytes], terminator: int | None = None) -> tuple[Ids, Borders]:
        return super().encode_batch([text.decode().encode("ascii", "replace") for text in texts], terminator)


def build_wrong_on_probes(tokenizer: Tokenizer) -> WrongOnProbes:
    return WrongOnProbes(tokenizer)


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the project logs at warning level and above."""
    caught: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: caught.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr("pipeline.process.setup", lambda logfile=None: logging.getLogger(ROOT))
    logging.getLogger(ROOT).addHandler(handler)
    yield caught
    logging.getLogger(ROOT).removeHandler(handler)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_planted_wrong_token(small: PipelineConfig, messages: list[str], workers: int) -> None:
    expected = process(small.model_copy(update={"tokenizer_engine": "reference"})).manifest
    truth = digests(small.output)
    config = small.model_copy(update={"output": small.output.parent / "other" / "x", "workers": workers})
    # The corpus is small and the audit compares one document in 1024, so this engine brings a denser audit along.
    manifest = process(config, engine_factory=f"{__name__}:build_dense_wrong").manifest
    assert manifest == expected and digests(config.output) == truth
    assert any("reference engine" in message for message in messages)


def build_dense_wrong(tokenizer: Tokenizer) -> WrongEngine:
    """The wrong engine with an audit of every third document (runs in the worker, which imports this module)."""
    audit.SELECT_ONE_IN = 3
    return WrongEngine(tokenizer)


def test_wrong_on_probes_is_never_used(small: PipelineConfig, messages: list[str]) -> None:
    process(small.model_copy(update={"tokenizer_engine": "reference"}))
    truth = digests(small.output)
    config = small.model_copy(update={"output": small.output.parent / "other" / "x"})
    process(config, engine_factory=f"{__name__}:build_wrong_on_probes")
    assert digests(config.output) == truth
    assert any("wrong-on-probes" in message for message in messages)


def test_mismatch_is_remembered(small: PipelineConfig, messages: list[str]) -> None:
    """A later run with more input does not trust the engine again."""
    process(small, engine_factory=f"{__name__}:build_dense_wrong")
    first = len(messages)
    assert first
    process(small, resume=True, engine_factory=f"{__name__}:build_dense_wrong")
    assert len(messages) == first


def test_real_fast_engine_gives_the_reference_bytes(small: PipelineConfig) -> None:
    assert small.tokenizer is not None and build_real(Tokenizer.load(small.tokenizer)) is not None
    process(small)
    fast = digests(small.output)
    config = small.model_copy(update={"output": small.output.parent / "other" / "x", "tokenizer_engine": "reference"})
    process(config)
    assert digests(config.output) == fast
