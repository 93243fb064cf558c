"""fsspec URLs: a web server with ranges, one without, memory://; a file that changes; packages that are missing."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.dedup.decontaminate import read_evaluation
from pipeline.plan import make_plan
from pipeline.preview.dry_run import dry_run
from pipeline.process import process
from pipeline.sources.base import InputChanged, Limits, Task
from pipeline.sources.files import RemoteFault
from pipeline.sources.find import find_inputs
from pipeline.sources.registry import source_for
from pipeline.sources.staging import stage
from pipeline.tokenizer_stage import prepare_tokenizer
from tests.pipeline.sources.reading import read

TEXTS = [f"document {n} " + "word " * (n % 30) for n in range(400)]
LINES = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in TEXTS)


class Web:
    """A web server of `files`; `ranges` and `lengths`: whether it gives parts of them and says how long they are."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = self.lengths = True
        self.sent = self.failures = 0
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                data = web.files.get(self.path)
                if data is None or web.failures:
                    web.failures -= 1 if data is not None else 0
                    self.send_response(404 if data is None else 503)
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                asked, size = self.headers.get("Range"), len(data)
                first = 0
                if asked and web.ranges:
                    start, _, last = asked.removeprefix("bytes=").partition("-")
                    first, data = int(start), data[int(start) : int(last) + 1 if last else size]
                self.send_response(206 if asked and web.ranges else 200)
                self.send_header("ETag", f'"{hash((web.files[self.path], 1))}"')
                self.send_header("Last-Modified", formatdate(1e9, usegmt=True))
                if web.ranges:
                    self.send_header("Accept-Ranges", "bytes")
                    self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{size}")
                if web.lengths:
                    self.send_header("Content-Length", str(len(data)))
                else:
                    self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = not web.lengths
                if self.command == "GET":
                    web.sent += len(data)
                    with suppress(ConnectionError):  # whoever asked for a part hangs up on the whole
                        self.wfile.write(data)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Web]:
    pytest.importorskip("aiohttp")
    server = Web()
    yield server
    server.close()


def test_a_file_on_a_web_server_is_cut_and_read_by_ranges(web: Web, tmp_path: Path) -> None:
    web.files["/d/a.jsonl"] = LINES
    web.files["/d/a.jsonl.gz"] = gzip.compress(LINES)
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet", row_group_size=100)
    web.files["/d/a.parquet"] = (tmp_path / "a.parquet").read_bytes()
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        found = read(f"{web.url}/d/{name}", block_bytes=1000)
        assert found.texts == TEXTS and found.inputs[0].name == name, name
        assert len(found.tasks) > 3 or name.endswith(".gz")
    found = read(f"{web.url}/d/a.jsonl", max_samples=3)
    assert found.texts == TEXTS[:3] and len(found.digests["a.jsonl"]) == 1


def test_a_remote_file_that_changed_is_noticed(web: Web) -> None:
    web.files["/a.jsonl"] = LINES
    task = read(f"{web.url}/a.jsonl").tasks[0]
    web.files["/a.jsonl"] = LINES.replace(b"document 1 ", b"document X ")
    for gone in (False, True):
        if gone:
            del web.files["/a.jsonl"]
        with pytest.raises(InputChanged):
            list(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))


def test_a_store_that_fails_while_a_plan_is_made_is_asked_again(web: Web, tmp_path: Path) -> None:
    """As workers do it. What fails for good is told in one line, and never taken for a change of the file."""
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    web.files = {"/a.parquet": (tmp_path / "a.parquet").read_bytes(), "/a.jsonl": LINES}

    def planned(name: str, failures: int, **settings: Any) -> tuple[PipelineConfig, list[Task]]:
        config = PipelineConfig(input=[f"{web.url}/{name}"], **settings)
        found = find_inputs(config)
        web.failures = failures
        return config, make_plan(found, config)

    assert len(planned("a.parquet", 3)[1]) == 1 and not web.failures
    (task,) = planned("a.jsonl", 3, max_samples=7)[1]
    assert task.max_records == 7 and not web.failures
    web.files["/b.parquet"] = web.files["/a.parquet"]
    with pytest.raises(UserError, match=r"/b\.parquet: cannot be read \(ClientResponseError: 503"):
        planned("b.parquet", 99)
    web.failures = 0
    config, tasks = planned("a.jsonl", 0, vocab_size=300)
    web.failures = 3
    assert prepare_tokenizer(config, tasks, tmp_path / "tokenizer", None).vocab_size > 256 and not web.failures
    web.failures = 99
    with pytest.raises(RemoteFault):
        list(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))


def made(tmp_path: Path, name: str, tokenizer: Path, *inputs: str, **settings: Any) -> tuple[bytes, bool]:
    """The manifest of a dataset, and whether the run changed it."""
    settings = {"block_bytes": 4000, **settings}
    config = PipelineConfig(
        input=list(inputs), output=tmp_path / name / "x", tokenizer=str(tokenizer), workers=1, **settings
    )
    changed = process(config, resume=True).changed
    return (config.output / "manifest.json").read_bytes(), changed


def test_a_web_server_with_ranges_is_read_by_ranges(web: Web, tmp_path: Path, tokenizer: Path) -> None:
    """Nothing is copied, and of a listing's files, whose sizes it does not tell, all is read."""
    local = tmp_path / "local"
    local.mkdir()
    (local / "a.jsonl").write_bytes(LINES)
    (local / "b.jsonl").write_bytes(LINES.replace(b"document", b"writing"))
    waste = [random.Random(n).randbytes(3000) for n in range(len(TEXTS))]
    pq.write_table(pa.table({"text": TEXTS, "waste": waste}), local / "wide.parquet", row_group_size=100)
    web.files = {f"/d/{path.name}": path.read_bytes() for path in local.iterdir()}
    web.files["/d/"] = b"".join(b'<a href="%s">x</a>' % path.name.encode() for path in local.iterdir())
    remote = [f"{web.url}/d/*.jsonl", f"{web.url}/d/wide.parquet"]
    first = made(tmp_path, "web", tokenizer, *remote)
    assert web.sent < (local / "wide.parquet").stat().st_size / 2
    assert not list((tmp_path / "web").rglob("inputs"))
    assert first == made(tmp_path, "local", tokenizer, f"{local}/*.jsonl", f"{local}/wide.parquet") and first[1]
    assert len(json.loads(first[0])["inputs"]) == 3
    assert made(tmp_path, "web", tokenizer, *remote) == (first[0], False)


@pytest.mark.parametrize("lengths", [True, False])
def test_a_web_server_without_ranges(web: Web, tmp_path: Path, tokenizer: Path, lengths: bool) -> None:
    """What cannot be read in pieces is copied to the work area first, however large, and whatever the server says."""
    web.ranges, web.lengths = False, lengths
    data = LINES + b'{"text": "' + b"?" * (6 * 10**6) + b'"}\n' + LINES
    (tmp_path / "a.jsonl").write_bytes(data)
    web.files = {"/d/a.jsonl": data, "/d/": b'<a href="a.jsonl">x</a>'}
    settings = {"block_bytes": 10**6}
    first = made(tmp_path, "web", tokenizer, f"{web.url}/d/*.jsonl", **settings)
    assert first == made(tmp_path, "local", tokenizer, str(tmp_path / "a.jsonl"), **settings) and first[1]
    assert made(tmp_path, "web", tokenizer, f"{web.url}/d/*.jsonl", **settings) == (first[0], False)
    estimate = dry_run(PipelineConfig(input=[f"{web.url}/d/a.jsonl"], tokenizer=str(tokenizer), **settings))
    assert estimate.seen_records == 2 * len(TEXTS) + 1
    near, far = (PipelineConfig(decontaminate=[place]) for place in (str(tmp_path / "a.jsonl"), f"{web.url}/d/a.jsonl"))
    assert read_evaluation(near).fingerprint == read_evaluation(far).fingerprint


def test_files_that_only_this_process_sees(tmp_path: Path, tokenizer: Path) -> None:
    memory = fsspec.filesystem("memory")
    for name, data in (("a.jsonl", LINES), ("b.txt", b"one\n\ntwo"), (".hidden.txt", b"no"), ("sub/c.txt", b"three")):
        memory.pipe_file(f"/inputs/{name}", data)
        place = tmp_path / "inputs" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    try:
        first = made(tmp_path, "memory", tokenizer, "memory://inputs")
        assert first == made(tmp_path, "local", tokenizer, str(tmp_path / "inputs")) and first[1]
        assert made(tmp_path, "memory", tokenizer, "memory://inputs") == (first[0], False)
        globbed = made(tmp_path, "memory", tokenizer, "memory://inputs/*.jsonl", "memory://inputs/sub/c.txt")
        assert [entry["name"] for entry in json.loads(globbed[0])["inputs"]] == ["a.jsonl", "c.txt"]
        memory.pipe_file("/inputs/sub/c.txt", b"changed")
        assert made(tmp_path, "memory", tokenizer, "memory://inputs/*.jsonl", "memory://inputs/sub/c.txt")[1]
    finally:
        memory.rm("/inputs", recursive=True)


def test_copies_are_known_by_all_that_they_hold(tmp_path: Path) -> None:
    """Those of files that differ in a single byte are two, those of one file are one."""
    memory = fsspec.filesystem("memory")
    for name, letter in (("a", b"a"), ("b", b"b"), ("c", b"a")):
        memory.pipe_file(f"/alike/{name}.txt", b"." * 10_000 + letter + b"." * 990_000)
    try:
        config = PipelineConfig(input=["memory://alike"])
        first, other, copy = make_plan(stage(find_inputs(config), tmp_path), config)
        assert first.key == copy.key != other.key
    finally:
        memory.rm("/alike", recursive=True)


def test_files_of_one_size_and_time_are_told_apart(tmp_path: Path, tokenizer: Path) -> None:
    """No document takes another's place: neither one beside it in an archive, nor that of an older archive."""

    def zipped(first: str) -> list[str]:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name, text in (("a.txt", first), ("b.txt", "the sea")):
                archive.writestr(zipfile.ZipInfo(name), text)
        return [f"zip://{name}.txt::{tmp_path}/x.zip" for name in "ab"]

    config = PipelineConfig(input=list(zipped("a river")), output=tmp_path / "x", tokenizer=str(tokenizer), workers=1)
    manifest = process(config).manifest
    assert manifest is not None and len({entry.fingerprint for entry in manifest.inputs}) == 2
    keys = [[task.key for task in read(zipped(first)).tasks] for first in ("a river", "a ocean")]
    assert keys[0][0] != keys[1][0] and keys[0][1] == keys[1][1]
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, text in (("a.txt", b"a river"), ("b.txt", b"the sea")):
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(text), 10**9
            archive.addfile(member, io.BytesIO(text))
    first, second = read([f"tar://{name}.txt::{tmp_path}/x.tar" for name in "ab"]).tasks
    assert first.identity == second.identity and first.key != second.key


def test_a_pattern_or_a_directory_within_a_chain(tmp_path: Path) -> None:
    """What is found there keeps the archive's place and the cache."""
    memory = fsspec.filesystem("memory")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a.txt", "b.txt", "below/c.txt"):
            archive.writestr(name, f"the text of {name}")
    memory.pipe_file("/chained/x.zip", (tmp_path / "x.zip").read_bytes())
    memory.pipe_file("/chained/d.txt", b"the text of d.txt")
    try:
        for url, names in (
            (f"zip://*.txt::{tmp_path}/x.zip", "ab"), (f"zip://below::{tmp_path}/x.zip", "c"),
            (f"zip://**/*.txt::file://{tmp_path}/x.zip", "abc"), ("zip://*.txt::memory://chained/x.zip", "ab"),
            ("simplecache::zip://*.txt::memory://chained/x.zip", "ab"),
        ):  # fmt: skip
            assert [record.text[-5] for record in read(url).documents] == list(names), url
        for url in ("simplecache::memory://chained", "simplecache::memory://chained/*.txt"):
            found = find_inputs(PipelineConfig(input=[url]))
            assert [file.path for file in found] == ["simplecache::memory:///chained/d.txt"]
    finally:
        memory.rm("/chained", recursive=True)


def test_what_cannot_be_opened_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for url, message in (
        ("gs://bucket/a.jsonl", "pip install gcsfs"), ("memory://nothing/here.jsonl", "no such file"),
        ("weird://a.jsonl", "a protocol that fsspec knows"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read(url)
