"""A small imitation of the Hugging Face hub's HTTP API: repository info, file tree, downloads with byte ranges.

Written after the hub's OpenAPI description (https://huggingface.co/.well-known/openapi.json), as far as needed.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Hub:
    """`repositories`: name -> revision ("main", "refs/convert/parquet") -> file name -> content."""

    def __init__(self, repositories: dict[str, dict[str, dict[str, bytes]]]) -> None:
        self.repositories = repositories
        self.requests: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.sent = 0  # bytes of file contents
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sha(self, name: str, revision: str) -> str:
        files = self.repositories[name][revision]
        return hashlib.sha1(f"{name}{revision}{sorted(files)}".encode() + b"".join(files.values())).hexdigest()

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for known, files in self.repositories.get(name, {}).items():
            sha = self.sha(name, known)
            if revision in (known, sha):
                return sha, files
        return None


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

    def _missing(self, code: str) -> None:
        self._answer(404, b"{}", X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.served.requests.append(("POST", self.path, None))
        place = urlsplit(self.path).path.split("/")
        name, revision = f"{place[3]}/{place[4]}", unquote(place[6])
        form = json.loads(body) if body.startswith(b"{") else {k: v for k, v in parse_qs(body.decode()).items()}
        found = self.served.find(name, revision)
        if found is None:
            return self._missing("RevisionNotFound")
        self._json([entry for path in form["paths"] for entry in _tree(found[1], "", True) if entry["path"] == path])

    def do_GET(self) -> None:
        self.served.requests.append((self.command, self.path, self.headers.get("Range")))
        parts = urlsplit(self.path)
        place = [unquote(part) for part in parts.path.strip("/").split("/")]
        if place[:2] == ["api", "datasets"]:
            return self._api(place[2:], parse_qs(parts.query))
        if place[0] == "datasets" and place[3] == "resolve":
            return self._file(f"{place[1]}/{place[2]}", place[4:])
        self._answer(404)

    def _api(self, place: list[str], query: dict[str, list[str]]) -> None:
        name, kind = "/".join(place[:2]), place[2] if len(place) > 2 else "revision"
        if name not in self.served.repositories:
            return self._missing("RepoNotFound")
        revision, rest = _revision(place[3:] or ["main"])
        found = self.served.find(name, revision)
        if found is None:
            return self._missing("RevisionNotFound")
        sha, files = found
        if kind == "revision":
            siblings = [{"rfilename": path} for path in sorted(files)]
            return self._json(
                {"id": name, "sha": sha, "siblings": siblings, "private": False, "tags": [], "downloads": 0}
            )
        folder = "/".join(rest)
        if folder and folder not in files and not any(path.startswith(folder + "/") for path in files):
            return self._missing("EntryNotFound")
        self._json(_tree(files, folder, query.get("recursive", ["false"])[0].lower() == "true"))

    def _file(self, name: str, place: list[str]) -> None:
        revision, rest = _revision(place)
        found = self.served.find(name, revision)
        if found is None:
            return self._missing("RevisionNotFound")
        sha, files = found
        path = "/".join(rest)
        if path not in files:
            return self._answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        data, status, headers = files[path], 200, {"X_Repo_Commit": sha, "ETag": f'"{_blob(files[path])}"'}
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last) + 1 if last else len(data), len(data))
            headers["Content_Range"] = f"bytes {first}-{end - 1}/{len(data)}"
            data, status = data[int(first) : end], 206
        if self.command == "HEAD":
            return self._answer(status, b"", Content_Length=str(len(data)), Accept_Ranges="bytes", **headers)
        self.served.sent += len(data)
        self._answer(status, data, Accept_Ranges="bytes", **headers)


def _revision(place: list[str]) -> tuple[str, list[str]]:
    return ("/".join(place[:3]), place[3:]) if place[0] == "refs" else (place[0], place[1:])


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _tree(files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
    prefix = folder + "/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, data in sorted(files.items()):
        if path == folder:
            return [{"type": "file", "path": path, "size": len(data), "oid": _blob(data)}]
        if not path.startswith(prefix):
            continue
        for parent in reversed(list(PurePosixPath(path[len(prefix) :]).parents)[:-1]):
            name = f"{prefix}{parent}"
            entries[name] = {"type": "directory", "path": name, "size": 0, "oid": "0" * 40}
        entries[path] = {"type": "file", "path": path, "size": len(data), "oid": _blob(data)}
    return [e for e in entries.values() if recursive or "/" not in str(e["path"])[len(prefix) :]]
