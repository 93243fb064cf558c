"""Processes that start together agree on a name, whatever earlier ones have left in the store."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import HashStore, TCPStore  # type: ignore[attr-defined]

from foundation.errors import UserError
from training.devices.meeting import meet

LONG = timedelta(seconds=60)
Connect = Callable[[], Any]


@pytest.fixture(params=["memory", "tcp"])
def connect(request: pytest.FixtureRequest) -> Connect:
    """Gives each process its way to one store: a shared one in memory, or a connection of its own over TCP."""
    if request.param == "memory":
        store = HashStore()
        return lambda: store
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return lambda: TCPStore("127.0.0.1", server.port, wait_for_workers=False)


def name_of(connect: Connect, size: int) -> str:
    """What `size` processes agree on, each a thread; the first one comes last."""
    with ThreadPoolExecutor(size) as pool:
        names = {
            each.result() for each in [pool.submit(meet, connect(), rank, size, LONG) for rank in range(size)[::-1]]
        }
    assert len(names) == 1
    return names.pop()


def test_all_agree_and_each_time_on_another_name(connect: Connect) -> None:
    """Also when there are fewer or more of them than before."""
    assert len({name_of(connect, size) for size in (3, 3, 2, 5, 3)}) == 5


@pytest.mark.parametrize("early", [0, 1])
def test_notes_of_processes_that_are_gone_mislead_nobody(early: int) -> None:
    """Neither those of a meeting that was held nor a token whose process died before it got a name: the one who is
    early goes over all of them and still waits for the other."""
    store = HashStore()
    before = name_of(lambda: store, 2)
    held = store.get("meeting/here/1").decode()
    store.set("meeting/here/1", "died" if early else held)
    gone = store.get("meeting/here/1").decode()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, store, early, 2, LONG)
        if early:  # its token stands where the other's was
            until(lambda: store.get("meeting/here/1").decode() != gone)
        else:  # it has offered the name to the one who is gone
            until(lambda: store.get(f"meeting/name for/{gone}").decode() != before)
        assert not first.done()
        second = pool.submit(meet, store, 1 - early, 2, LONG)
        assert first.result() == second.result() != before


def until(happened: Callable[[], bool]) -> None:
    """Look again and again, up to a minute."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline


def test_who_does_not_come_is_named() -> None:
    """By the first process, which knows it; the others say that they waited."""
    store = HashStore()
    with ThreadPoolExecutor(2) as pool:
        there = pool.submit(meet, store, 2, 4, timedelta(seconds=0.4))
        with pytest.raises(UserError, match=r"process\(es\) 1, 3 of 4 did not come within 200\u202fms \(process_t"):
            meet(store, 0, 4, timedelta(seconds=0.2))
        with pytest.raises(UserError, match="process 2 of 4 did not meet all others within 400"):
            there.result()
