"""Datasets and work at URLs: an S3 server on this machine, and memory where S3 itself is not the point."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.workspace.part_store import PartCache
from pipeline.workspace.storage import Storage, url_of
from shards.dataset import Dataset
from tests.quick import quick

from .conftest import Run, arguments, digests

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def memory(tmp_path: Path) -> str:
    """A URL in this process's memory, empty at first."""
    fsspec.filesystem("memory").store.clear()
    return f"memory://bucket/{tmp_path.name}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3 server on this machine; its address."""
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server", reason="moto[server] plays S3 in the tests")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield f"http://127.0.0.1:{running.get_host_and_port()[1]}"
    running.stop()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, and the environment in which it is found."""
    for name, value in {
        "AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
    name = "b" + "".join(c for c in tmp_path.name.lower() if c.isalnum())[-40:]
    filesystem.mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def expected(small: PipelineConfig) -> dict[str, str]:
    """The files of a local run."""
    whole = small.model_copy(update={"output": small.output.parent.parent / "whole" / "x"})
    process(whole)
    return digests(whole.output)


def at(config: PipelineConfig, **changes: Any) -> PipelineConfig:
    """The configuration with changes, checked like a given one."""
    return PipelineConfig(**{**config.model_dump(exclude_defaults=True), **changes})


def download(url: str, place: Path) -> Path:
    """A copy of everything below `url`, by plain fsspec calls."""
    filesystem, root = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    for path in filesystem.find(root):
        target = place / path.strip("/").removeprefix(root.strip("/")).strip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(filesystem.cat_file(path))
    return place


def test_a_dataset_at_a_url(small: PipelineConfig, expected: dict[str, str], memory: str, tmp_path: Path) -> None:
    config = at(small, output=f"{memory}/x")
    result = process(config)
    assert result.changed and digests(download(f"{memory}/x", tmp_path / "copy")) == expected
    assert Dataset.open(tmp_path / "copy").documents == result.manifest.splits["train"].documents  # type: ignore[union-attr]
    assert not list(result.directory.rglob("*.bin")), "what was sent is not kept twice"
    assert not process(config, resume=True).changed
    with pytest.raises(UserError, match=r"already there.*--resume"):
        process(config)


def test_updating_and_overwriting_at_a_url(small: PipelineConfig, corpus: Path, memory: str, tmp_path: Path) -> None:
    one = at(small, output=f"{memory}/x", input=[str(corpus / "a.jsonl")])
    process(one)
    two = at(one, input=[str(corpus / "a.jsonl"), str(corpus / "b.jsonl")])
    assert process(two, resume=True).changed
    local = at(two, output=tmp_path / "local" / "x")
    process(local)
    assert digests(download(f"{memory}/x", tmp_path / "copy")) == digests(local.output), (
        "and nothing else is left there"
    )
    other = at(two, tokenizer=None, vocab_size=400)
    with pytest.raises(UserError, match="other settings"):
        process(other, resume=True)
    process(other, overwrite=True)
    fresh = at(other, output=tmp_path / "fresh" / "x")
    process(fresh)
    assert digests(download(f"{memory}/x", tmp_path / "again")) == digests(fresh.output)


def test_foreign_files_at_a_url_stay(small: PipelineConfig, memory: str) -> None:
    Storage(f"{memory}/x").write("thesis.tex", b"years of work")
    with pytest.raises(UserError, match=r"memory://.*not empty"):
        process(at(small, output=f"{memory}/x"))
    process(at(small, output=f"{memory}/x"), resume=True)
    assert Storage(f"{memory}/x").read("thesis.tex") == b"years of work"


def test_s3_in_and_out(small: PipelineConfig, corpus: Path, bucket: str, tmp_path: Path) -> None:
    """The input is read from S3, the dataset is put there, and it is the local one."""
    raw = Storage(f"{bucket}/raw")
    for path in corpus.iterdir():
        raw.put(path, path.name)
    config = at(small, input=[f"{bucket}/raw"], output=f"{bucket}/sets/x", workers=2)
    manifest = process(config).manifest
    assert manifest is not None
    local = at(small, output=tmp_path / "local" / "x")
    process(local)
    copy = download(f"{bucket}/sets/x", tmp_path / "copy")
    for split in ("train", "val", "test"):
        ours, theirs = Dataset.open(copy, split), Dataset.open(local.output, split)
        assert ours.documents == theirs.documents > 0
        assert all((ours.document(n) == theirs.document(n)).all() for n in range(ours.documents))
    assert not process(config, resume=True).changed


UPLOADING = [
    "upload.mid_shards:1", "upload.mid_shards:4", "upload.before_tokenizer", "upload.before_manifest",
    "upload.after_manifest", "upload.before_removal",
]  # fmt: skip


@pytest.mark.parametrize("failpoint", quick(UPLOADING, ["upload.mid_shards:4"]))
def test_killed_while_uploading(
    small: PipelineConfig, expected: dict[str, str], bucket: str, run: Run, tmp_path: Path, failpoint: str
) -> None:
    """No manifest before everything it names; what was sent in full is not sent again."""
    options = arguments(at(small, output=f"{bucket}/x"))
    assert run(*options, failpoint=failpoint).returncode == -9
    storage = Storage(f"{bucket}/x")
    sent = {name: _stamp(f"{bucket}/x/{name}") for name in storage.sizes() if name.endswith((".bin", ".idx", ".npy"))}
    all_shards = sum(name.partition("/")[0] in ("train", "val", "test") for name in expected)
    assert len(sent) == (int(failpoint[-1]) if failpoint[-1].isdigit() else all_shards)
    published = failpoint in ("upload.after_manifest", "upload.before_removal")
    assert (storage.read("manifest.json") is not None) == published
    finished = run(*options, "--resume")
    assert finished.returncode == 0, finished.stderr
    assert digests(download(f"{bucket}/x", tmp_path / "copy")) == expected
    assert {name: _stamp(f"{bucket}/x/{name}") for name in sent} == sent
    assert "nothing to do" in run(*options, "--resume").stdout


def _stamp(url: str) -> Any:
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.invalidate_cache()
    return filesystem.info(path)["LastModified"]


@pytest.mark.slow
def test_slices_on_machines_that_share_only_a_bucket(
    small: PipelineConfig,
    expected: dict[str, str],
    bucket: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each process has a local cache of its own, as another machine would; the second dies in every part."""
    config = at(small, output=f"{bucket}/x", work_directory=f"{bucket}/work")
    for number, failpoint in ((1, ""), (2, "share.mid_part:2"), (3, "")):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine{number}"))
        share = run(*arguments(config), "--task_slice", f"{number}/3", failpoint=failpoint)
        assert share.returncode == (2 if failpoint else 0), share.stderr
        assert not [path for path in (tmp_path / f"machine{number}").rglob("tokens.bin") if not failpoint]
    before = Storage(f"{bucket}/work").sizes()
    assert sum(name.endswith("summary.json") for name in before) >= 8
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "publisher"))
    assert run(*arguments(config)).returncode == 2, "half-done work is not touched unasked"
    finished = run(*arguments(config), "--resume")
    assert finished.returncode == 0, finished.stderr
    assert "resuming" in finished.stdout + finished.stderr
    assert digests(download(f"{bucket}/x", tmp_path / "copy")) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    again = run(*arguments(config), "--resume")
    assert again.returncode == 0 and "nothing to do" in again.stdout, "every machine finds that it is finished"


def test_a_trained_tokenizer_and_a_mismatch_travel_by_the_work_url(small: PipelineConfig, tmp_path: Path) -> None:
    """The same over a plain directory by its file:// URL, in this process."""
    config = at(small, tokenizer=None, vocab_size=400, work_directory=f"file://{tmp_path}/work")
    whole = at(small, tokenizer=None, vocab_size=400, output=tmp_path / "whole" / "x")
    process(whole)
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "one")
    process(at(config, task_slice="1/2"), engine_factory="tests.pipeline.test_slices:build_right")
    [trained] = (tmp_path / "work").glob("*/tokenizer/tokenizer.json")
    stamp = trained.stat().st_mtime_ns
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "two")
    process(at(config, task_slice="2/2"), engine_factory="tests.pipeline.test_audit:build_dense_wrong")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path / "three")
    process(config, resume=True, engine_factory="tests.pipeline.test_audit:build_dense_wrong")
    assert trained.stat().st_mtime_ns == stamp
    assert digests(config.output) == digests(whole.output)


def test_a_part_damaged_at_the_url_is_named_and_made_again(
    small: PipelineConfig, expected: dict[str, str], tmp_path: Path
) -> None:
    config = at(small, work_directory=f"file://{tmp_path}/work")
    process(at(config, task_slice="1/1"))
    tokens = sorted((tmp_path / "work").glob("*/parts/*/tokens.bin"))[3]
    data = bytearray(tokens.read_bytes())
    data[len(data) // 2] ^= 4
    tokens.write_bytes(data)
    with pytest.raises(UserError, match=rf"{tokens.parent.name}/tokens.bin: damaged.*--resume"):
        process(config, resume=True)
    assert not (config.output / "manifest.json").exists()
    process(config, resume=True)
    assert digests(config.output) == expected


def test_fetched_parts_stay_within_their_bound(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for key in "abcdef":
        (store / key).mkdir(parents=True)
        (store / key / "tokens.bin").write_bytes(key.encode() * 1000)
    cache = PartCache(Storage(f"file://{store}"), tmp_path / "local", limit=2500)
    for key in "abcdefabcf":
        assert cache.fetch(key, "tokens.bin", None).read_bytes() == key.encode() * 1000
        assert sum(path.stat().st_size for path in (tmp_path / "local").rglob("*.bin")) <= 2500


def test_a_missing_package_is_named(small: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(UserError, match=r"s3://bucket/x: .*pip install 'mateconv\[s3\]'"):
        process(at(small, output="s3://bucket/x"))
    with pytest.raises(UserError, match=r"zz://bucket/x: Protocol not known"):
        process(at(small, output="zz://bucket/x"))


def test_a_missing_bucket_is_named_before_work_starts(small: PipelineConfig, bucket: str, run: Run) -> None:
    refused = run(*arguments(at(small, output=f"{bucket}-absent/x")))
    assert refused.returncode == 2 and f"{bucket}-absent/x: not found" in refused.stderr
    assert "Traceback" not in refused.stderr and "map:" not in refused.stderr


def test_an_endpoint_that_does_not_answer(
    small: PipelineConfig, bucket: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    refused = run(*arguments(at(small, output=f"{bucket}/x")))
    assert refused.returncode == 2 and f"{bucket}/x: " in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("place", "url"),
    [
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"), ("s3://bucket/a/", "s3://bucket/a"), (Path("gs://b"), "gs://b"),
        (Path("file:///data/x"), "file:///data/x"), (Path("data/x"), None), (Path("/data/s3:x"), None),
        ("C:/data", None),
    ],
)  # fmt: skip
def test_urls_survive_pathlib(place: Path | str, url: str | None) -> None:
    assert url_of(place) == url


def test_nothing_of_the_urls_is_in_the_dataset(small: PipelineConfig, memory: str) -> None:
    process(at(small, output=f"{memory}/x"))
    storage = Storage(f"{memory}/x")
    for name in storage.sizes():
        if name.endswith((".json", ".jsonl")) and not name.startswith("report/"):
            assert memory.encode() not in (storage.read(name) or b"") and b"cache/mateconv" not in (
                storage.read(name) or b""
            )
    assert json.loads(storage.read("manifest.json") or b"")["settings"].get("output") is None
