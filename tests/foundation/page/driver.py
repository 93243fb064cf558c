"""A page that is used: Chromium driven over its debugging pipe (Chrome DevTools Protocol), without a network."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.foundation.page.browser import BROWSER, OPTIONS

WAIT_SECONDS = 60.0


class Page:
    """One tab. Every call waits for the browser's answer."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from, self._rest, self._number = to_browser, from_browser, b"", 0
        self.problems: list[str] = []
        """Uncaught errors, and what the page's policy blocked."""
        self._session = ""
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Runtime.exceptionThrown":
                self.problems.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["source"] == "security":
                self.problems.append(answer["params"]["entry"]["text"])

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = os.read(self._from, 1 << 16)
            assert piece, "the browser ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        value: dict[str, Any] = json.loads(message)
        return value

    def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        result = self("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.evaluate(script):
            assert time.monotonic() < end, (
                f"never true: {script}; the page shows {self.evaluate('document.body.innerText')!r}"
            )
            time.sleep(0.05)

    def open(self, url: str) -> None:
        """Go to `url` and wait for its scripts."""
        self("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def type(self, text: str, *, key: str | None = None) -> None:
        """Type where the cursor is, then press a key."""
        if text:
            self("Input.insertText", text=text)
        if key:
            what = {"key": key, "code": key, "windowsVirtualKeyCode": {"Enter": 13, "Tab": 9}[key]}
            self("Input.dispatchKeyEvent", type="keyDown", **what, text="\r" if key == "Enter" else "")
            self("Input.dispatchKeyEvent", type="keyUp", **what)

    def picture(self, path: Path) -> None:
        """What is painted, as a PNG file."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))


@contextmanager
def driven_page(profile: Path, *, width: int = 900, height: int = 700) -> Iterator[Page]:
    """A new browser with a new profile and one empty tab. It reaches loopback addresses and nothing else."""
    assert BROWSER is not None
    (in_reads, in_writes), (out_reads, out_writes) = os.pipe(), os.pipe()
    ours = (in_writes, out_reads)
    # The browser reads commands from 3 and writes answers to 4; far numbers first, so that neither is overwritten.
    far = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 64) for end in (in_reads, out_writes)]
    command = [
        BROWSER, *OPTIONS, "--remote-debugging-pipe", f"--window-size={width},{height}", f"--user-data-dir={profile}",
        "--proxy-server=127.0.0.1:9", "about:blank",
    ]  # fmt: skip
    with (profile.parent / f"{profile.name}.log").open("wb") as log:
        actions = [(os.POSIX_SPAWN_DUP2, far[0], 3), (os.POSIX_SPAWN_DUP2, far[1], 4)]
        actions += [(os.POSIX_SPAWN_DUP2, log.fileno(), 1), (os.POSIX_SPAWN_DUP2, log.fileno(), 2)]
        process = os.posix_spawn(BROWSER, command, os.environ, file_actions=actions, setpgroup=0)
    for end in (in_reads, out_writes, *far):
        os.close(end)
    try:
        yield Page(*ours)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        for end in ours:
            os.close(end)
