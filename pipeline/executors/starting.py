"""How worker processes start: a server process loads the libraries once and forks every worker from itself.

The server has no threads and never encodes, so that nothing is lost in the fork (`multiprocessing`'s method
`forkserver`, the default from Python 3.14 on). Where the system has no such thing, each worker loads for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Mapping
from multiprocessing.context import BaseContext

_LOADED = ["pipeline.executors.local", "pipeline.mapping.map_task", "pipeline.process"]
"""What workers run, and what the command imports: they import its module again, as `multiprocessing` has it."""

# That it is there already is meant so, and nothing a user should read.
warnings.filterwarnings("ignore", ".*found in sys.modules after import", RuntimeWarning, "runpy")


def context() -> BaseContext:
    """The context to start workers in."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(_LOADED)
    return chosen


def prepare() -> None:
    """Start the server, so that it loads while the caller goes on."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()


def take_environment(environment: Mapping[str, str]) -> None:
    """In a worker: have the parent's environment of now, not that of when the server started."""
    os.environ.clear()
    os.environ.update(environment)
