"""Files that are no part of a dataset stay where they are, whatever is published around them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from foundation.errors import UserError
from pipeline import DataProcessor
from pipeline.config import PipelineConfig
from pipeline.process import main, process
from pipeline.publishing.layout import is_ours
from pipeline.workspace.storage import Storage

from .conftest import arguments, digests

fsspec = pytest.importorskip("fsspec")

FOREIGN = (
    "notes.txt", "train/raw.jsonl", "train/00000.bin", "train/00000-0123abcd.bin.bak", "train/sub/00000-0123abcd.bin",
    "val/notes.txt", "test/manifest.json", "tokenizer/vocab.txt", "quarantine/mine.jsonl", "rejected/sub/records.jsonl",
    "report/thesis.pdf", "duplicates/.tmp-clusters", "mine/.tmp-x-1-0123abcd", "mine/train/00000-0123abcd.bin",
)  # fmt: skip


@pytest.fixture
def one(small: PipelineConfig, corpus: Path) -> PipelineConfig:
    """The configuration with one input, and the text of the others left out."""
    return small.model_copy(update={"input": [str(corpus / "a.jsonl")]})


def put_foreign_files(output: Path) -> dict[str, bytes]:
    for name in FOREIGN:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(f"the only copy of {name}")
    return {name: (output / name).read_bytes() for name in FOREIGN}


def there(output: Path) -> dict[str, bytes]:
    return {name: (output / name).read_bytes() for name in FOREIGN if (output / name).exists()}


def shards(output: Path) -> set[str]:
    names = {path.relative_to(output).as_posix() for path in output.rglob("*.*")}
    return {name for name in names if name.startswith(("train/", "val/", "test/")) and is_ours(name)}


def test_every_file_of_a_dataset_is_ours_and_no_other(small: PipelineConfig) -> None:
    process(small)
    names = [path.relative_to(small.output).as_posix() for path in small.output.rglob("*") if path.is_file()]
    assert len({name.partition("/")[0] for name in names}) >= 8 and all(map(is_ours, names))
    assert not [name for name in FOREIGN if is_ours(name)]


def test_foreign_files_stay(one: PipelineConfig, corpus: Path) -> None:
    """When a dataset is put beside them, updated, and made anew with another tokenizer, without a report."""
    before = put_foreign_files(one.output)
    process(one, resume=True)
    assert there(one.output) == before
    two = one.model_copy(update={"input": [str(corpus / "b.jsonl")]})
    old = shards(one.output)
    process(two, resume=True)
    assert there(one.output) == before and old and not old & shards(one.output)
    other = two.model_copy(update={"tokenizer": None, "vocab_size": 400, "report": False})
    process(other, overwrite=True)
    assert there(one.output) == before and not (one.output / "report" / "index.html").exists()
    fresh = other.model_copy(update={"output": one.output.parent / "fresh" / "x"})
    process(fresh)
    ours = {name: value for name, value in digests(one.output).items() if name not in FOREIGN and name != "SHA256SUMS"}
    assert ours == {name: value for name, value in digests(fresh.output).items() if name != "SHA256SUMS"}


def test_foreign_files_at_a_url_stay(one: PipelineConfig, tmp_path: Path) -> None:
    fsspec.filesystem("memory").store.clear()
    storage = Storage(f"memory://bucket/{tmp_path.name}/x")
    for name in FOREIGN:
        storage.write(name, name.encode())
    changes = {"input": one.input, "tokenizer": one.tokenizer, "output": storage.url, "workers": 1}
    process(PipelineConfig(**changes), resume=True)
    old = {name for name in storage.sizes() if is_ours(name) and name.startswith("train/")}
    process(PipelineConfig(**changes, min_chars=40), overwrite=True)
    assert all(storage.read(name) == name.encode() for name in FOREIGN)
    assert old and not old & storage.sizes().keys()


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_an_input_in_the_output_is_refused(one: PipelineConfig, corpus: Path, flags: dict[str, Any]) -> None:
    raw = one.output / "train" / "raw.jsonl"
    raw.parent.mkdir(parents=True)
    raw.write_bytes((corpus / "a.jsonl").read_bytes())
    with pytest.raises(UserError, match=r"raw\.jsonl: lies in the output, .*choose an --output that holds no input"):
        process(one.model_copy(update={"input": [str(raw)]}), **flags)
    assert [path for path in one.output.parent.rglob("*") if path.is_file()] == [raw]


def test_ways_into_the_output(
    one: PipelineConfig, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a link, from a link, by a relative path, as an archive, at a URL, as a trial, from Python."""
    monkeypatch.chdir(tmp_path)
    data = (corpus / "a.jsonl").read_bytes()
    Path("raw").mkdir()
    Path("raw/a.jsonl").write_bytes(data)
    Path("link").symlink_to("raw")
    Path("raw/linked.jsonl").symlink_to(tmp_path / "raw" / "a.jsonl")
    with zipfile.ZipFile("raw/a.zip", "w") as archive:
        archive.writestr("a.jsonl", data)
    for output in ("link", "raw", str(tmp_path / "raw"), f"file://{tmp_path}/raw"):
        for given in ("raw/a.jsonl", "link/a.jsonl", "raw/linked.jsonl", f"zip://a.jsonl::{tmp_path}/raw/a.zip"):
            changes = {"input": [given], "output": output, "tokenizer": one.tokenizer}
            with pytest.raises(UserError, match="lies in the output"):
                process(PipelineConfig(**changes), resume=True)
    with pytest.raises(UserError, match="lies in the output"):
        main([*arguments(PipelineConfig(input=["raw"], output=Path("."))), "--dry_run"])
    fsspec.filesystem("memory").pipe_file("/bucket/raw/train/a.jsonl", data)
    at_a_url = PipelineConfig(
        input=["memory://bucket/raw/train"], output="memory://bucket/raw/", tokenizer=one.tokenizer
    )
    with pytest.raises(UserError, match="lies in the output, memory://bucket/raw,"):
        process(at_a_url, resume=True)
    assert one.tokenizer is not None
    with pytest.raises(UserError, match="lies in the output"):
        DataProcessor(one.tokenizer).process_dataset("raw", "raw")
    process(one.model_copy(update={"input": ["raw/a.jsonl"], "output": Path("raw-tokens")}))  # only its name begins so


def test_files_with_our_names_are_replaced_only_when_that_is_asked_for(one: PipelineConfig) -> None:
    mine = one.output / "tokenizer" / "tokenizer.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    with pytest.raises(UserError, match=r"holds no dataset, but tokenizer/tokenizer\.json.*--overwrite"):
        process(one, resume=True)
    assert mine.read_text() == "{}"
    process(one, overwrite=True)
    (one.output / "manifest.json").unlink()  # the work knows what it was: that is no foreign directory
    assert process(one, resume=True).changed


def test_a_file_where_a_directory_is_to_be(one: PipelineConfig) -> None:
    one.output.mkdir(parents=True)
    (one.output / "rejected").write_text("a list of mine")
    with pytest.raises(UserError, match="rejected: is a file"):
        process(one, overwrite=True)
