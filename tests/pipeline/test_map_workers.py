"""The server that workers are forked from: replaced when it dies, and no keeper of an old environment."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from foundation.errors import UserError
from foundation.failpoints import ENVIRONMENT_VARIABLE
from pipeline.config import PipelineConfig
from pipeline.executors import starting
from pipeline.process import process

pytestmark = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="the system has no forkserver"
)


def server() -> int:
    """Process number of the server."""
    starting.prepare()
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    assert isinstance(pid, int)
    return pid


def test_a_killed_server_is_replaced(small: PipelineConfig) -> None:
    killed = server()
    os.kill(killed, signal.SIGKILL)
    process(small)
    assert server() != killed


def test_a_server_killed_while_a_worker_starts(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    real, starts = BaseProcess.start, 0

    def start(self: BaseProcess) -> None:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise EOFError
        real(self)

    monkeypatch.setattr(BaseProcess, "start", start)
    process(small)
    assert starts == small.worker_count() + 1


def test_workers_have_the_environment_of_now(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    server()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "map.start")  # a name that only workers pass
    with pytest.raises(UserError, match="its worker died"):
        process(small)


def test_the_server_has_loaded_what_workers_need(small: PipelineConfig) -> None:
    """Else every worker would load it again."""
    loaded = Path(f"/proc/{server()}/maps")
    if not loaded.exists():
        pytest.skip("finds the server's libraries in Linux's /proc")
    process(small)  # it has served by then
    assert "tokenizers" in loaded.read_text()
