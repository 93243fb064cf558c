"""Where tasks run and in which order they end changes nothing: local processes, Ray, shuffled completion."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.sources.base import Task

from .conftest import InProcess, Run, arguments, digests


@pytest.fixture
def expected(small: PipelineConfig) -> dict[str, str]:
    """The files of a run with one local worker, made elsewhere."""
    whole = small.model_copy(update={"output": small.output.parent.parent / "whole" / "x"})
    process(whole)
    return digests(whole.output)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_completion(
    small: PipelineConfig, expected: dict[str, str], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def shuffled(tasks: list[Task]) -> list[Task]:
        order = random.Random(seed).sample(tasks, len(tasks))
        assert order != tasks
        return order

    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, tasks: InProcess(setup, shuffled))
    process(small)
    assert digests(small.output) == expected


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of two workers on this machine, for all tests of this file."""
    pytest.importorskip("ray", reason="Ray is an optional extra")
    from pipeline.executors.ray import _connect, _import_ray

    started = _import_ray()
    _connect(started, None, 2)
    yield started
    started.shutdown()


def test_ray_gives_the_same_bytes(small: PipelineConfig, expected: dict[str, str], ray: Any) -> None:
    process(small.model_copy(update={"executor": "ray", "workers": 2}))
    assert digests(small.output) == expected
    assert ray.is_initialized(), "a Ray that was there before is left running"


@pytest.mark.slow
def test_ray_charges_and_replaces_lost_workers(
    small: PipelineConfig, expected: dict[str, str], ray: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """An actor is killed with its fourth task, once a task; the tasks are tried again by others."""
    from pipeline.executors import ray as adapter

    class Mortal(adapter._Worker):
        count = 0

        def run(self, task: Task) -> Any:
            import os
            import signal

            self.count += 1
            killed = tmp_path / task.key
            if self.count == 4 and not killed.exists():
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().run(task)

    original, adapter._Worker = adapter._Worker, Mortal  # type: ignore[misc]
    try:
        process(small.model_copy(update={"executor": "ray", "workers": 2}))
    finally:
        adapter._Worker = original  # type: ignore[misc]
    assert digests(small.output) == expected
    assert "its Ray worker was lost" in "".join(capfd.readouterr())


def hold(ray: Any, cpus: int) -> Any:
    """Another program's actor on `cpus` of the two CPUs."""

    class Other:
        def here(self) -> None: ...

    actor = ray.remote(num_cpus=cpus)(Other).remote()
    ray.get(actor.here.remote())
    return actor


@pytest.mark.slow
def test_ray_leaves_no_task_with_a_worker_that_has_no_cpu(
    small: PipelineConfig, expected: dict[str, str], ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impatient(refs: list[Any], **options: Any) -> Any:
        found = wait(refs, **(options | {"timeout": 30}))
        assert found[0], "waits for a worker that cannot be placed"
        return found

    wait = ray.wait
    other = hold(ray, 1)
    try:
        monkeypatch.setattr(ray, "wait", impatient)
        process(small.model_copy(update={"executor": "ray", "workers": 2}))
    finally:
        ray.kill(other)
    assert digests(small.output) == expected


@pytest.mark.slow
def test_ray_without_a_free_cpu_says_so_once_and_waits(
    small: PipelineConfig, expected: dict[str, str], ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPUs are given free when the warning has come."""
    from pipeline.executors import ray as adapter

    said: list[str] = []

    def warned(text: str, *values: object) -> None:
        said.append(text % values)
        ray.kill(other)

    other = hold(ray, 2)
    monkeypatch.setattr(adapter, "PATIENCE", 0.1)
    monkeypatch.setattr(adapter.log, "warning", warned)
    process(small.model_copy(update={"executor": "ray", "workers": 2}))
    assert digests(small.output) == expected
    assert len(said) == 1 and "no free CPU" in said[0]


@pytest.mark.slow
def test_ray_workers_of_other_versions_do_not_start(
    small: PipelineConfig, ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where none can start, for whatever reason, the run ends."""
    monkeypatch.setattr("pipeline.executors.ray.versions", lambda settings: {"tokenizers": "9"})
    with pytest.raises(UserError, match=r"no worker could start: .* has other versions .*, now 9"):
        process(small.model_copy(update={"executor": "ray", "workers": 1}))


@pytest.mark.slow
def test_ray_reports_a_task_that_always_fails(small: PipelineConfig, ray: Any) -> None:
    config = small.model_copy(update={"executor": "ray", "workers": 2})
    with pytest.raises(UserError, match=r"nothing was published(.|\n)*NotImplementedError"):
        process(config, engine_factory="tests.pipeline.test_executors:build_failing")
    assert not (small.output / "manifest.json").exists()


def build_failing(tokenizer: Any) -> Any:
    """Right on the probes, and then never."""
    from tokenization.engines.reference import ReferenceEngine

    class Failing(ReferenceEngine):
        name = "failing"

        def encode_batch(self, texts: list[bytes], *rest: Any, **named: Any) -> Any:
            if any(b"river" in text for text in texts):
                raise NotImplementedError
            return super().encode_batch(texts, *rest, **named)

    return Failing(tokenizer)


def test_no_cluster_at_the_address(run: Run, small: PipelineConfig) -> None:
    pytest.importorskip("ray")
    config = small.model_copy(update={"executor": "ray", "ray_address": "127.0.0.1:9"})
    refused = run(*arguments(config))
    assert refused.returncode == 2 and "127.0.0.1:9" in refused.stderr and "Traceback" not in refused.stderr


def test_a_missing_ray_is_named(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'mateconv\[ray\]'"):
        process(small.model_copy(update={"executor": "ray"}))
