"""The manual names every flag, every field and every refusal, and its client runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from generation.serving.flags import KEY_VARIABLE, ServingFlags
from generation.serving.protocol import ChatBody, TextBody
from tests.generation.serving.conftest import Running


@pytest.fixture(scope="module")
def manual(repo_root: Path) -> str:
    return (repo_root / "docs" / "serving.md").read_text(encoding="utf-8")


def test_it_is_complete(manual: str) -> None:
    flags = set(ServingFlags.model_fields) - {"serve"} | {"batch_size"}
    table = dict(re.findall(r"^\| `--(\w+)` \| ([^|]+) \|", manual, re.MULTILINE))
    assert set(table) == flags and KEY_VARIABLE in manual
    for name in ("host", "port", "max_waiting", "max_body_bytes", "grace_seconds"):
        default = ServingFlags.model_fields[name].default
        assert table[name] == (default if isinstance(default, str) else f"{default:,.0f}").replace("8,000", "8000")
    fields = manual.partition("## What a request may say")[2].partition("## What is refused")[0]
    assert set(ChatBody.model_fields) | set(TextBody.model_fields) <= set(re.findall(r"`(\w+)`", fields))


def test_its_client_runs(manual: str, chat_server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", manual, re.DOTALL)
    exec(code.replace("http://127.0.0.1:8000", chat_server.url), {})
    asked = {"messages": [{"role": "user", "content": "Tell me about the moon."}]}
    answer = chat_server.ask("POST", "/v1/chat/completions", asked)[2]
    assert capsys.readouterr().out == answer["choices"][0]["message"]["content"] != ""
