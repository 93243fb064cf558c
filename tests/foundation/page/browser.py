"""Chromium without a network, and what it painted."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter", "--hide-scrollbars",
)  # fmt: skip
BROWSERS_OWN = re.compile(
    rb"^\w+ (http://)?(clients\d*|update|accounts|www|[a-z-]+-pa|edgedl[.\w]*)\.(google|googleapis|gvt1)\.com"
)
"""What Chromium asks its maker for, whatever page it shows: the time, updates, its own services."""


@contextmanager
def refusing_proxy() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that refuses everything and remembers what was asked: its port, and the first lines of the requests."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(5)
                    asked.append(connection.recv(4096).split(b"\r\n")[0])

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)


def browse(url: str, port: int, profile: Path, *options: str) -> bytes:
    """What Chromium prints for `url`, with a new profile and only the proxy as network."""
    assert BROWSER is not None
    done = subprocess.run(
        [
            BROWSER, *OPTIONS, f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>",
            f"--user-data-dir={profile}", *options, url,
        ],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def near(image: npt.NDArray[np.floating], colour: str) -> int:
    """Pixels of about that colour, given as #rrggbb."""
    wanted = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return int((np.abs(image[..., :3] - wanted).max(axis=-1) < 0.04).sum())
