"""The page in a browser without a network: it asks for nothing, and its plots are painted, in English and Chinese."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import pytest

from pipeline.config import PipelineConfig
from pipeline.process import process
from tests.foundation.page.browser import BROWSER, BROWSERS_OWN, browse, near, refusing_proxy

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


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that refuses everything: its port, and the first lines of what was asked."""
    with refusing_proxy() as found:
        yield found


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
