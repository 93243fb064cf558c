"""The chat page: files of our own, nothing from elsewhere, nothing inline, under a policy that enforces it."""

from __future__ import annotations

from importlib import resources

from starlette.responses import Response
from starlette.routing import Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Even if a text that the page shows got into the markup, it could neither run nor send anything elsewhere."""

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PAGE = "chat.html"
ASSETS = ("chat.css", "words.js", "stream.js", "history.js", "chat.js")


def page_routes() -> list[Route]:
    """`/` and the files it names."""
    return [_route("/", PAGE), *(_route(f"/assets/{name}", name) for name in ASSETS)]


def _route(path: str, name: str) -> Route:
    content = (resources.files("generation.serving") / "assets" / name).read_bytes()
    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}

    def show(_: object) -> Response:
        return Response(content, media_type=_KINDS[name.rpartition(".")[2]], headers=headers)

    return Route(path, show, methods=["GET"])
