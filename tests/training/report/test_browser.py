"""The page of a run in a browser without a network: it asks for nothing, and its curves are painted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from tests.foundation.page.browser import BROWSER, BROWSERS_OWN, browse, near, refusing_proxy

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that refuses everything: its port, and the first lines of what was asked."""
    with refusing_proxy() as found:
        yield found


def test_the_page_in_a_browser(command: Any, tmp_path: Path, proxy: tuple[int, list[bytes]]) -> None:
    base = ["--report", "true", "--sample_tokens", "9", "--use_ema", "true", "--eval_interval", "2"]
    assert command.call(*base).returncode == 0
    port, asked = proxy
    url = (command.directory / "out" / "report.html").as_uri()
    for name, width, least in (("wide", 1280, 400), ("phone", 390, 100)):
        shot = tmp_path / f"{name}.png"
        browse(url, port, tmp_path / name, f"--screenshot={shot}", f"--window-size={width},2600")
        image = matplotlib.image.imread(shot)
        assert image.shape[:2] == (2600, width)
        for colour, what in (("#2f6db5", "training"), ("#cf5a43", "validation"), ("#2a8c6a", "EMA")):
            assert near(image, colour) > least, (name, what)
    assert not [line for line in asked if not BROWSERS_OWN.search(line)], "the page asked for something"
