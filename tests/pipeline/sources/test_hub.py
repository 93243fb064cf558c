"""hf:// against an imitation of the hub: the files found, what is fetched, what is said when it is out of reach."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.sources import hub as hub_module
from pipeline.sources.card import Card
from pipeline.sources.find import find_inputs
from tests.pipeline.sources.hub_server import Hub
from tests.pipeline.sources.reading import read

CARD = b"""---
license: mit
configs:
- config_name: plain
  data_files:
  - split: train
    path: [plain/train-*, plain/more/]
  - split: validation
    path: plain/val.jsonl.gz
- config_name: other
  data_dir: stuff
dataset_info:
- config_name: plain
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': neg
          '1': pos
- config_name: other
---
# A dataset
"""


def parquet(*texts: str, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"text": list(texts), "label": [n % 2 for n in range(len(texts))]}), out, **options)
    return out.getvalue()


def jsonl(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def big_parquet() -> bytes:
    """50 row groups of which the text is a small part."""
    chance = random.Random(4)
    junk = [chance.randbytes(3000) for _ in range(1000)]
    table = pa.table({"junk": junk, "text": [f"document {n}" for n in range(1000)]})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=20, compression="none", use_dictionary=False, write_statistics=False)
    return out.getvalue()


REPOSITORIES = {
    "o/carded": {
        "main": {
            "README.md": CARD, ".gitattributes": b"*", "plain/train-1.parquet": parquet("t1", "t2"),
            "plain/train-0.parquet": parquet("t0"), "plain/more/x.jsonl": jsonl("t3"),
            "plain/val.jsonl.gz": gzip.compress(jsonl("v0")),
            "plain/test-0.parquet": parquet("not named"),
            "stuff/test/a.csv": b"text\nc-test\n", "stuff/training_0.csv": b"text\nc-train\n",
        },
        "v2": {"README.md": CARD, "plain/train-0.parquet": parquet("of v2")},
    },
    "o/named": {
        "main": {"data/dev-0.jsonl": jsonl("d"), "data/train-0.jsonl": jsonl("t"), "contest.jsonl": jsonl("none")}
    },
    "o/bare": {"main": {"one.jsonl": jsonl("a"), "LICENSE.txt": b"no", "two.jsonl": jsonl("b")}},
    "o/script": {
        "main": {"script.py": b"import os", "README.md": b"# nothing", "archive.tar": b"x"},
        "refs/convert/parquet": {
            "en/train/0000.parquet": parquet("en"), "en/test/0000.parquet": parquet("en test"),
            "zh/partial-train/0000.parquet": parquet("zh"),
        },
    },
    "o/big": {"main": {"data.parquet": big_parquet()}},
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The imitation, which this process and its children take for the hub."""
    server = Hub(REPOSITORIES)
    point_to(server.endpoint, monkeypatch, tmp_path)
    yield server
    server.close()


def point_to(endpoint: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    from huggingface_hub import HfFileSystem, constants

    for name, value in (("HF_ENDPOINT", endpoint), ("HF_HUB_OFFLINE", "0"), ("HF_HOME", str(home / "hf"))):
        monkeypatch.setenv(name, value)  # for the workers, and for the message
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hf" / "hub"))
    HfFileSystem.clear_instance_cache()


def files(*addresses: str, **settings: Any) -> list[tuple[str, str | None]]:
    found = find_inputs(PipelineConfig(input=list(addresses), **settings))
    return [(file.name.split("/", 2)[2], file.options.split) for file in found]


@pytest.mark.parametrize("streaming", [True, False])
def test_files_of_a_configuration(hub: Hub, tmp_path: Path, streaming: bool) -> None:
    def found(address: str) -> list[tuple[str, str | None]]:
        return files(f"hf://datasets/{address}", streaming=streaming, hub_cache=tmp_path / "cache")

    train: list[tuple[str, str | None]] = [
        (f"plain/{n}", None) for n in ("train-0.parquet", "train-1.parquet", "more/x.jsonl")
    ]
    assert found("o/carded:plain") == [*train, ("plain/val.jsonl.gz", "val")]
    assert found("o/carded:plain/train") == train
    assert found("o/carded:plain/validation") == [("plain/val.jsonl.gz", None)]
    assert found("o/carded:other") == [("stuff/test/a.csv", "test")]  # a directory's name goes before a file's
    assert found("o/carded@v2:plain") == [("plain/train-0.parquet", None)]
    assert found("o/named") == [("data/train-0.jsonl", None), ("data/dev-0.jsonl", "val")]
    assert found("o/bare") == [("one.jsonl", None), ("two.jsonl", None)]
    assert found("o/script:en") == [("en/test/0000.parquet", "test"), ("en/train/0000.parquet", None)]
    assert found("o/script:zh/train") == [("zh/partial-train/0000.parquet", None)]


def test_files_within_a_dataset(hub: Hub) -> None:
    address = "hf://datasets/o/carded/plain"
    assert read(f"{address}/val.jsonl.gz").texts == ["v0"]
    assert sorted(read(f"{address}/train-*.parquet").texts) == ["t0", "t1", "t2"]
    assert len(read(address).texts) == 6


@pytest.mark.parametrize("streaming", [True, False])
def test_what_is_read(hub: Hub, tmp_path: Path, streaming: bool) -> None:
    found = read("hf://datasets/o/carded:plain", streaming=streaming, hub_cache=tmp_path / "cache")
    assert found.texts == ["t0", "t1", "t2", "t3", "v0"]
    assert found.inputs[0].options.labels == ("neg", "pos") and found.labels == [0, 0, 1, -1, -1]
    assert (tmp_path / "cache").exists() != streaming
    assert all("snapshots" not in file.name and str(tmp_path) not in file.name for file in found.inputs)


def test_streaming_fetches_only_what_it_needs(hub: Hub) -> None:
    size = len(REPOSITORIES["o/big"]["main"]["data.parquet"])
    found = read("hf://datasets/o/big", block_bytes=600_000)
    assert found.texts == [f"document {n}" for n in range(1000)] and len(found.tasks) == 5
    assert hub.sent < size / 10
    hub.sent = 0
    assert read("hf://datasets/o/big", max_samples=30, block_bytes=64).texts == found.texts[:30]
    assert hub.sent < size / 20 and all(
        asked for method, path, asked in hub.requests if "data.parquet" in path and method == "GET"
    )


def test_downloads_are_kept_and_read_without_a_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"streaming": False, "hub_cache": tmp_path / "cache"}
    first = read("hf://datasets/o/carded:plain", **settings)
    hub.sent = 0
    again = read("hf://datasets/o/carded:plain", **settings)
    contents = sum(len(data) for name, data in REPOSITORIES["o/carded"]["main"].items() if name != "README.md")
    assert again.documents == first.documents and hub.sent < min(contents, 2 * len(CARD))
    point_to("http://127.0.0.1:9", monkeypatch, tmp_path)
    offline = read("hf://datasets/o/carded:plain", **settings)
    assert offline.documents == first.documents
    assert [task.key for task in offline.tasks] == [task.key for task in first.tasks]
    with pytest.raises(UserError, match=r"cannot be reached.*HF_ENDPOINT.*--streaming false.*local file"):
        read("hf://datasets/o/carded:plain")
    with pytest.raises(UserError, match="cannot be reached"):
        read("hf://datasets/o/named", **settings)


def test_a_new_commit_keeps_the_work_on_files_that_it_leaves(hub: Hub) -> None:
    first, validation = read("hf://datasets/o/named").tasks
    known = hub.repositories["o/named"]["main"]
    hub.repositories = {"o/named": {"main": {**known, "data/dev-0.jsonl": jsonl("w")}}}
    same, changed = read("hf://datasets/o/named").tasks
    assert same.path != first.path and same.key == first.key
    assert changed.identity.size == validation.identity.size and changed.key != validation.key


def test_mistakes_are_named(hub: Hub) -> None:
    for address, message in (
        ("o/nothing", "no such dataset, or it is private"), ("o/carded@v9:plain", "no such revision"),
        ("o/carded", "name a configuration, like hf://datasets/o/carded:plain"),
        ("o/carded:plain/dev", "it has train, validation"),
        ("o/carded:nope", "it has plain, other"), ("o/script", "name a configuration, like .*:en; it has en, zh"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read(f"hf://datasets/{address}")


def test_short_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each is an address; a local file of that name goes first."""
    asked: list[str] = []

    def find(address: str, *_: object) -> None:
        asked.append(address)
        raise UserError("stop")

    monkeypatch.setattr(hub_module, "find", find)
    monkeypatch.chdir(tmp_path)
    assert {"imdb", "wikitext", "wikipedia", "openwebtext", "c4", "pile-cc", "ag_news"} <= hub_module.SHORT_NAMES.keys()
    for name in hub_module.SHORT_NAMES:
        assert hub_module.is_dataset(hub_module.SHORT_NAMES[name])
        with pytest.raises(UserError, match="stop"):
            read(name)
    assert asked == list(hub_module.SHORT_NAMES.values())
    Path("imdb").mkdir()
    Path("imdb/a.jsonl").write_bytes(jsonl("mine"))
    assert read("imdb").texts == ["mine"]


def test_addresses() -> None:
    for address, expected in (
        ("hf://datasets/o/n", True), ("hf://datasets/o/n:c", True), ("hf://datasets/o/n@v1.0:c/s", True),
        ("hf://datasets/o/n@refs/convert/parquet:c", True), ("hf://datasets/o/n/file.parquet", False),
        ("hf://datasets/o/n@main/data/*.parquet", False), ("s3://o/n", False), ("hf://datasets/o", False),
    ):  # fmt: skip
        assert hub_module.is_dataset(address) == expected, address


def test_forms_of_a_card() -> None:
    for data_files, expected in (
        ("'*.csv'", {"train": ["*.csv"]}), ("[a.csv, b.csv]", {"train": ["a.csv", "b.csv"]}),
        ("{train: a, test: [b, c]}", {"train": ["a"], "test": ["b", "c"]}),
        ("[{split: dev, path: d}]", {"dev": ["d"]}),
    ):  # fmt: skip
        card = Card.parse(f"---\nconfigs:\n- config_name: x\n  data_files: {data_files}\n---\n".encode())
        assert card.patterns("a", None) == expected
    for broken in (b"", b"# none", b"---\n: [\n---\n", b"---\n- 1\n---\n", b"---\nconfigs: [a, b]\n---\n", b"\xff"):
        assert not Card.parse(broken).configs


def test_the_command_reads_a_hub_dataset(hub: Hub, tmp_path: Path, run: Any) -> None:
    """The whole pipeline over two workers; the same dataset as from the downloaded files."""
    options = ["--input", "hf://datasets/o/big", "--vocab_size", "300", "--block_bytes", "300000", "--workers", "2"]
    done = run(*options, "--output", str(tmp_path / "a" / "x"))
    assert done.returncode == 0, done.stderr
    again = run(
        *options, "--output", str(tmp_path / "b" / "x"), "--streaming", "false", "--hub_cache", str(tmp_path / "c")
    )
    assert again.returncode == 0, again.stderr
    first, second = ((tmp_path / d / "x" / "manifest.json").read_bytes() for d in "ab")
    assert first == second and json.loads(first)["inputs"][0]["name"] == "o/big/data.parquet"
    assert str(tmp_path).encode() not in first and b"127.0.0.1" not in first
    before = hub.sent
    assert "up to date" in run(*options, "--output", str(tmp_path / "a" / "x"), "--resume").stdout
    assert hub.sent - before < 200_000
    assert os.environ["HF_ENDPOINT"] == hub.endpoint
