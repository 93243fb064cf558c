"""How processes that start together find each other where earlier ones have left their notes."""

from __future__ import annotations

import secrets
import time
from datetime import timedelta
from typing import Any

from torch.distributed import DistStoreError

from foundation.errors import UserError
from foundation.page.wording import seconds

PAUSE = 0.02
"""Seconds between two looks of the first process at who has come."""


def meet(store: Any, rank: int, size: int, timeout: timedelta) -> str:
    """A name that all `size` processes agree on and none before them had; `store` is a torch.distributed Store.

    torchrun keeps one store for all its attempts, and counts them on each machine for itself: a machine whose processes
    were only started along with another's counts nothing. So the processes greet each other. Each other one leaves a
    token that nobody had before; the first draws the name and hands it to every token it finds. A token of a process
    that is gone takes nothing from it, and its successor writes over it. `UserError` after `timeout`.
    """
    return _receive(store, rank, size, timeout) if rank else _invite(store, size, timeout)


def _invite(store: Any, size: int, timeout: timedelta) -> str:
    """What the first process does: hand out a name until all others have taken it."""
    name, deadline = secrets.token_hex(8), time.monotonic() + timeout.total_seconds()
    missing = list(range(1, size))
    while missing:
        for rank in missing:
            if store.check([_here(rank)]):
                store.set(_name_for(store.get(_here(rank)).decode()), name)
        missing = [rank for rank in missing if not store.check([_taken(name, rank)])]
        if missing and time.monotonic() > deadline:
            raise _late(f"process(es) {', '.join(map(str, missing))} of {size} did not come", timeout)
        if missing:
            time.sleep(PAUSE)
    store.set(_complete(name), "")
    return name


def _receive(store: Any, rank: int, size: int, timeout: timedelta) -> str:
    """What the others do: take the name that the first process has for this very process, and wait for all."""
    token = secrets.token_hex(8)
    store.set(_here(rank), token)
    try:
        store.wait([_name_for(token)], timeout)
        name: str = store.get(_name_for(token)).decode()
        store.set(_taken(name, rank), "")
        store.wait([_complete(name)], timeout)
    except DistStoreError as error:
        raise _late(f"process {rank} of {size} did not meet all others", timeout) from error
    return name


def _late(what: str, timeout: timedelta) -> UserError:
    return UserError(
        f"{what} within {seconds(timeout.total_seconds())} (process_timeout); see whether all were started, and what "
        "the missing ones said, or give them longer by --process_timeout"
    )


def _here(rank: int) -> str:
    return f"meeting/here/{rank}"


def _name_for(token: str) -> str:
    return f"meeting/name for/{token}"


def _taken(name: str, rank: int) -> str:
    return f"meeting/{name}/{rank}"


def _complete(name: str) -> str:
    return f"meeting/{name}/complete"
