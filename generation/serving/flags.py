"""What `--serve` can be told: where to listen, who may ask, how much at a time."""

from __future__ import annotations

import ipaddress
import os

from pydantic import Field, SecretStr

from foundation.errors import UserError
from foundation.section import Section

KEY_VARIABLE = "MATECONV_API_KEY"
SHORTEST_KEY = 8


class ServingFlags(Section):
    """The flags of `inference.py --serve`."""

    serve: bool = Field(
        default=False, description="answer over HTTP as OpenAI's API does, with a page to chat (docs/serving.md)"
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; 0.0.0.0 is every network of this machine and wants an --api_key",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    api_key: SecretStr | None = Field(
        default=None,
        description=f"what clients must send as `Authorization: Bearer …`; {KEY_VARIABLE} in the environment says it "
        "without showing it to others on the machine",
    )
    model_name: str | None = Field(
        default=None, min_length=1, description="what the API calls the model; null: the name of its directory"
    )
    max_waiting: int = Field(
        default=64, ge=0, description="texts that may wait while --batch_size are written; further ones get a 429"
    )
    max_body_bytes: int = Field(default=1_000_000, gt=0, description="largest request in bytes; larger ones get a 413")
    grace_seconds: float = Field(
        default=10.0,
        ge=0,
        allow_inf_nan=False,
        description="how long answers in work may go on after SIGTERM or Ctrl-C",
    )


def find_key(flags: ServingFlags) -> str | None:
    """The key that clients must send, of the flag or the environment. `UserError` for one that cannot be used, and
    for a host that others can reach without one."""
    key = flags.api_key.get_secret_value() if flags.api_key is not None else os.environ.get(KEY_VARIABLE)
    if key is not None and (len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key):
        raise UserError(
            f"--api_key: use at least {SHORTEST_KEY} ASCII characters without blanks "
            '(python -c "import secrets; print(secrets.token_urlsafe(24))" makes one)'
        )
    if key is None and not is_loopback(flags.host):
        raise UserError(
            f"--host {flags.host}: others can reach this address; give --api_key (or {KEY_VARIABLE}), "
            "or keep 127.0.0.1 and only this machine can ask"
        )
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
