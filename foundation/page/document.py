"""The frame of a page: one file that opens without a network, runs no scripts and fetches nothing."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.page.style import STYLE
from foundation.page.wording import escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing may be fetched, even if a text that the page shows got into the markup."""


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A whole HTML page of the sections in `body`, which are markup; `style` is added to the common style sheet."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><main>"
        f"{''.join(body)}</main></body></html>\n"
    )
