"""How one of several processes ends by an error: the error is told once, and the others do not wait for it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from typing import NoReturn

from foundation import cli
from foundation.page.wording import seconds
from training.devices.distributed import World

GRACE = 1.5
"""Seconds that a process waits that only lost contact: the one with the error shall end first, so that it comes first
in the output and torchrun names it as the cause."""

_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "remote process exited",
    "communicator was aborted",
)
_SILENT = (
    "Timed out waiting",
    "Application timeout caused pair closure",
    "Watchdog caught collective operation timeout",
)


def lost_contact(error: BaseException, world: World) -> str | None:
    """What to say when `error` only means that another process is gone or silent; None for an error of our own."""
    text = str(error)
    if not isinstance(error, RuntimeError):
        return None
    if any(words in text for words in _SILENT):
        limit = seconds(world.timeout)
        return f"another process has not answered for {limit} (process_timeout): the run ends here"
    if any(words in text for words in _GONE):
        return "lost contact with another process; its error stands above, or in torchrun's report below"
    return None


def end(error: BaseException, world: World) -> NoReturn:
    """Tell `error` and leave at once, without the tidying in which a process may wait for others.

    A mistake that all processes make alike is told by one of them. The exit code is that of a single process.
    """
    # torchrun ends the others as soon as one has ended; this one still has something to say.
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    lost = lost_contact(error, world)
    if lost is not None:
        time.sleep(GRACE)
        if _first_to_say(lost, world):
            print(f"error: {lost}", file=sys.stderr)
        code = cli.EXIT_FAILURE
    elif isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else cli.EXIT_FAILURE
    else:
        code = _tell(error, world)
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _tell(error: BaseException, world: World) -> int:
    """Say what went wrong, and leave it where torchrun's report looks for it; gives the exit code."""
    text = f"{type(error).__name__}: {error}"
    if not world.is_main:
        time.sleep(GRACE / 5)  # where all make the same mistake, let the first process say it
    who = "" if world.is_main else f"process {world.rank} of {world.size}: "
    if not _first_to_say(text, world):
        return cli.told(error, quietly=True) or cli.EXIT_FAILURE
    _leave_for_torchrun(f"{who}{text}")
    code = cli.told(error, who)
    if code is None:
        trace = "".join(traceback.format_exception(error))
        print(f"{trace}error: {who}{text}", file=sys.stderr)
        return cli.EXIT_FAILURE
    return code


def _first_to_say(text: str, world: World) -> bool:
    """Whether no other process of this machine has said it."""
    key = hashlib.sha256(text.encode()).hexdigest()
    try:
        return int(world.store.add(f"said/{os.environ.get('GROUP_RANK', '0')}/{key}", 1)) == 1
    except RuntimeError:  # the machine that keeps the list is gone
        return True


def _leave_for_torchrun(text: str) -> None:
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        content = {"message": {"message": text, "extraInfo": {"timestamp": str(int(time.time()))}}}
        with contextlib.suppress(OSError), open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
