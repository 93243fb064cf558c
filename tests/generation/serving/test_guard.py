"""Who is let in: names of this machine, holders of the key, and nobody on other addresses without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foundation.errors import UserError
from generation.serving.flags import KEY_VARIABLE, ServingFlags, find_key, is_loopback
from generation.text import TextGenerator
from tests.generation.serving.conftest import Running, running

ASK = {"prompt": "the cat", "max_tokens": 2}


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("192.168.0.7:8000", 403),
        ("", 403),
    ],
)
def test_names_that_an_attacker_points_here_are_refused(chat_server: Running, host: str, status: int) -> None:
    for path in ("/", "/v1/models"):
        assert chat_server.ask("GET", path, Host=host)[0] == status
    assert chat_server.ask("POST", "/v1/completions", ASK, Host=host)[0] == status


def test_the_key(make_generator: Callable[..., TextGenerator], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    with running(make_generator()) as server:
        for wrong in (
            "",
            "Bearer",
            "Bearer secret-kez",
            "Bearer secret-key2",
            "Basic secret-key",
            "Bearer s\xe9cret-key",
        ):
            status, headers, body = server.ask("POST", "/v1/completions", ASK, Authorization=wrong)
            assert (status, headers["www-authenticate"], body["error"]["code"]) == (401, "Bearer", "invalid_api_key")
        assert server.ask("GET", "/v1/models")[0] == 401 and server.ask("GET", "/v1")[0] == 401
        assert server.ask("POST", "/v1/completions", ASK, Authorization="Bearer secret-key")[0] == 200
        assert server.ask("GET", "/health")[0] == server.ask("GET", "/")[0] == 200
        assert server.ask("GET", "/", Host="box.example")[0] == 200  # where a key is wanted, names do not matter


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "box.local", "127.0.0.1.example"])
def test_others_reach_no_server_without_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(UserError, match="give --api_key"):
        find_key(ServingFlags(host=host))
    assert find_key(ServingFlags.model_validate({"host": host, "api_key": "x" * 8})) == "x" * 8


def test_keys_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("", "short", "with blank", "schlüssel", "line\nend12"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(UserError, match="at least 8 ASCII characters"):
            find_key(ServingFlags())
    assert "secret-key" not in repr(ServingFlags.model_validate({"api_key": "secret-key"}))


def test_loopback_names() -> None:
    names = ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"]
    assert all(is_loopback(name) for name in names)
    assert not any(is_loopback(name) for name in ("", "0.0.0.0", "::", "10.0.0.1", "example.org"))


def test_no_other_site_may_read_or_frame(chat_server: Running) -> None:
    for path in ("/", "/health", "/v1/models", "/missing"):
        headers = {
            name.lower(): value for name, value in chat_server.ask("GET", path, Origin="http://x.example")[1].items()
        }
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not any(name.startswith("access-control") for name in headers)
