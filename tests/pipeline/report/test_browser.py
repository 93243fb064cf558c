"""The page in a browser without a network: it asks for nothing, and its plots are painted, in English and Chinese."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
ENGLISH = [
    "the",
    "rain",
    "in",
    "Spain",
    "stays",
    "mainly",
    "on",
    "a",
    "plain",
    "and",
    "rivers",
    "run",
    "to",
    "old",
    "seas",
]
CHINESE = list("春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少白日依山盡黃河入海流")
BROWSERS_OWN = re.compile(
    rb"^\w+ (http://)?(clients\d*|update|accounts|www|[a-z-]+-pa|edgedl[.\w]*)\.(google|googleapis|gvt1)\.com"
)
"""What Chromium asks its maker for, whatever page it shows: the time, updates, its own services."""


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[bytes]]]:
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
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
            "--disable-domain-reliability", "--disable-features=OptimizationHints,MediaRouter", "--hide-scrollbars",
            f"--proxy-server=127.0.0.1:{port}", "--proxy-bypass-list=<-loopback>", f"--user-data-dir={profile}",
            *options, url,
        ],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout


def make(directory: Path, words: list[str], joiner: str) -> Path:
    """A dataset of texts of many lengths made of `words`, and its page."""
    lines = [
        json.dumps({"text": joiner.join(words[(n * 7 + k) % len(words)] for k in range(1 + n % 97)), "n": n})
        for n in range(300)
    ]
    directory.mkdir()
    (directory / "in.jsonl").write_text("\n".join([*lines, "no JSON"]))
    config = PipelineConfig(
        input=[str(directory / "in.jsonl")], output=directory / "d" / "x", vocab_size=400, workers=1, min_chars=4,
        exact_dedup=False, max_repeated_lines=None, max_repeated_ngrams=None,
    )  # fmt: skip
    process(config)
    return config.output / "report" / "index.html"


def near(image: npt.NDArray[np.floating], colour: str) -> int:
    """Pixels of about that colour, given as #rrggbb."""
    wanted = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return int((np.abs(image[..., :3] - wanted).max(axis=-1) < 0.04).sum())


@pytest.mark.parametrize(("words", "joiner"), [(ENGLISH, " "), (CHINESE, "")])
def test_the_page_in_a_browser(tmp_path: Path, proxy: tuple[int, list[bytes]], words: list[str], joiner: str) -> None:
    path = make(tmp_path / "made", words, joiner)
    port, asked = proxy
    url = path.as_uri()
    dom = browse(url, port, tmp_path / "p1", "--dump-dom").decode()
    assert dom.count("<svg") == 3 and "<script" not in dom
    assert re.search(r'<polyline class="curve" points="[\d., ]{50,}"', dom)
    assert words[0] in dom
    shot = tmp_path / "shot.png"
    browse(url, port, tmp_path / "p2", f"--screenshot={shot}", "--window-size=1280,3000")
    image = matplotlib.image.imread(shot)
    assert image.shape[:2] == (3000, 1280)
    assert near(image, "#2f6db5") > 5000, "the bars of the histogram"
    assert near(image, "#2a8c6a") > 2000, "the records that were kept"
    assert not [line for line in asked if not BROWSERS_OWN.search(line)], "the page asked for something"


def test_the_proxy_would_notice(tmp_path: Path, proxy: tuple[int, list[bytes]]) -> None:
    port, asked = proxy
    page = tmp_path / "page.html"
    page.write_text("<img src='http://picture.example/a.png'>")
    browse(page.as_uri(), port, tmp_path / "p", "--dump-dom")
    assert [line for line in asked if not BROWSERS_OWN.search(line)] == [b"GET http://picture.example/a.png HTTP/1.1"]
