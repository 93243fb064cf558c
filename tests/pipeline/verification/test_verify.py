"""A flipped bit anywhere is named, nonsense under right checksums too; documents are compared with their sources."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foundation import fingerprint
from foundation.errors import UserError
from pipeline import verify as command
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.settings.inputs import InputSpec
from pipeline.verification.checksums import write_checksums
from pipeline.verify import verify
from shards.dataset import Dataset
from shards.manifest import Manifest
from shards.packing_plan import open_plan
from shards.plan_place import cache_places

from ..conftest import ROOT, documents
from .damage import every_file, flip, reseal, write_kinds


def test_a_whole_dataset_is_found_whole(dataset: Path, corpus: Path) -> None:
    report = verify(dataset, [str(corpus)], samples=10**6)
    assert not report.problems, list(report.problems.lines())
    assert report.notes == [] and report.bytes > 50_000
    manifest = Manifest.load(dataset)
    assert report.samples == sum(split.documents for split in manifest.splits.values())


def test_sha256sum_agrees(dataset: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dataset, capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    listed = {line.partition(":")[0] for line in checked.stdout.splitlines()}
    assert {"manifest.json", "stats.json", "tokenizer/tokenizer.json", "quarantine/records.jsonl"} <= listed


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_any_file_is_named(dataset: Path, seed: int) -> None:
    names = every_file(dataset)
    kinds = {".bin", ".idx", ".npy", ".json", ".jsonl", ""}
    assert kinds <= {Path(name).suffix for name in names}
    for name in names:
        before = (dataset / name).read_bytes()
        flip(dataset / name, seed)
        assert list(verify(dataset, None).problems.found) == [name] or name in verify(dataset, None).problems, name
        (dataset / name).write_bytes(before)
    assert not verify(dataset, None).problems


def test_missing_truncated_and_stray_files_are_named(dataset: Path) -> None:
    names = [name for name in every_file(dataset) if name.endswith((".idx", ".bin"))]
    (dataset / names[0]).unlink()
    os.truncate(dataset / names[1], 10)
    (dataset / "train" / "left-over.bin").write_bytes(b"\0\0")
    (dataset / "notes.txt").write_text("mine")
    assert set(verify(dataset, None).problems.found) == {names[0], names[1], "train/left-over.bin", "notes.txt"}


def test_what_training_keeps_with_a_dataset_is_no_damage(dataset: Path, corpus: Path) -> None:
    """Nor is it a part of the dataset: no list names it, and the lists of earlier versions that do are read without."""
    opened = Dataset.open(dataset)
    shard = next(path for path in (dataset / "train").iterdir() if path.suffix == ".bin")
    for place in (dataset, shard):  # trained on as a whole, and on one shard of it
        open_plan(opened, 64, cache_places(place, dataset.parent), lambda share: None)
    plans = [path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if ".plans" in path.parts]
    assert len(plans) > 4 and not verify(dataset, None).problems
    write_checksums(dataset)
    assert ".plans" not in (dataset / "SHA256SUMS").read_text()
    path = dataset / "SHA256SUMS"
    _, *lines = path.read_text().splitlines(keepends=True)
    lines.append(f"{'0' * 64}  .plans/ids-0.json\n")
    path.write_text(f"# SHA-256 of the lines below: {fingerprint.of_bytes(''.join(lines).encode())}\n{''.join(lines)}")
    assert not verify(dataset, None).problems
    flip(dataset / "stats.json", 1)
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0


@pytest.mark.parametrize(
    ("suffix", "change", "what"),
    [
        (".bin", lambda data: b"\xff\xff" + data[2:], "token 0 has id 65535, the vocabulary has"),
        (".bin", lambda data: data[:-2] + b"\x07\0", "1 documents do not end with [0]"),
        (".idx", lambda data: data[:34] + bytes([data[34] ^ 1]) + data[35:], "the manifest says"),
        (".idx", lambda data: data[:-1] + b"\1", "not one sequence a document"),
        (".docs.npy", lambda data: data[:-32] + b"\x99" + data[-31:], "names source 153 of 4"),
    ],
)
def test_nonsense_under_right_checksums_is_named(dataset: Path, suffix: str, change, what: str) -> None:
    name = next(name for name in every_file(dataset) if name.startswith("train/") and name.endswith(suffix))
    (dataset / name).write_bytes(change((dataset / name).read_bytes()))
    reseal(dataset, name)
    told = list(verify(dataset, None).problems.lines())
    assert any(line.startswith(name) and what in line for line in told), told


def test_documents_are_compared_with_their_sources(dataset: Path, corpus: Path) -> None:
    name = next(name for name in every_file(dataset) if name.startswith("train/") and name.endswith(".bin"))
    data = bytearray((dataset / name).read_bytes())
    data[0:2] = (int.from_bytes(data[0:2], "little") % 400 + 7).to_bytes(2, "little")
    (dataset / name).write_bytes(data)
    reseal(dataset, name)
    assert not verify(dataset, None).problems
    told = list(verify(dataset, [str(corpus)], samples=10**6).problems.lines())
    assert len(told) == 1 and "document 0 of train" in told[0] and "not those of its source" in told[0]


def test_a_changed_source_is_told_apart_from_damage(dataset: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "raw")
    source = tmp_path / "raw" / "a.jsonl"
    lines = source.read_bytes().splitlines(keepends=True)
    source.write_bytes(b"".join([lines[0].replace(b"e", b"a"), *lines[1:]]))
    report = verify(dataset, [str(tmp_path / "raw")], samples=10**6)
    assert not report.problems
    assert [note for note in report.notes if "a.jsonl: changed since" in note]


def test_the_command(dataset: Path, corpus: Path, tmp_path: Path) -> None:
    def start(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline.verify", *options], cwd=tmp_path, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        )  # fmt: skip

    good = start("dataset/x", "--input", str(corpus), "--samples", "50")
    assert good.returncode == 0 and "dataset/x: whole" in good.stdout and "50 documents" in good.stdout, good
    name = next(name for name in every_file(dataset) if name.endswith(".bin"))
    flip(dataset / name, 2)
    bad = start("dataset/x", "--samples", "0")
    assert bad.returncode == 1 and f"damaged: dataset/x/{name}: its checksum" in bad.stdout and "--repair" in bad.stdout
    none = start("dataset")
    assert none.returncode == 2 and "no dataset there" in none.stderr and "Traceback" not in none.stderr


def test_texts_in_two_splits_are_damage_unless_duplicates_were_wanted(tokenizer: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in documents(30, 2)))
    config = PipelineConfig(
        input=[str(tmp_path / "a.jsonl"), InputSpec(path=str(tmp_path / "b.jsonl"), split="test")],
        output=tmp_path / "d" / "x", tokenizer=tokenizer, val_fraction=0, exact_dedup=False, workers=1,
    )  # fmt: skip
    process(config)
    assert not verify(config.output, None).problems
    manifest = json.loads((config.output / "manifest.json").read_bytes())
    manifest["settings"]["exact_dedup"] = True
    manifest["pipeline_fingerprint"] = fingerprint.of_json(manifest["settings"])
    (config.output / "manifest.json").write_bytes(Manifest.model_validate(manifest).encode())
    write_checksums(config.output)
    (line,) = verify(config.output, None).problems.lines()
    assert line.startswith("test/: ") and "are in train, too" in line


def test_a_dataset_at_a_url_is_refused() -> None:
    with pytest.raises(UserError, match="s3://bucket/x: this command reads local files"):
        command.main(["s3://bucket/x"])


def test_a_dataset_of_strangers_runs_no_code(dataset: Path, corpus: Path, tmp_path: Path) -> None:
    """Its manifest may name any function; that is loaded only when the reader's own configuration names it."""
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    manifest["settings"] |= {"custom_filter": "evil:run", "custom_filter_source": None}
    manifest["pipeline_fingerprint"] = fingerprint.of_json(manifest["settings"])
    (dataset / "manifest.json").write_bytes(Manifest.model_validate(manifest).encode())
    write_checksums(dataset)
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    shutil.rmtree(dataset.parent / ".work")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.verify", str(dataset), "--input", str(corpus)], cwd=tmp_path, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "filtered by the Python function evil:run" in done.stdout, done
    flip(dataset / "stats.json", 3)
    with pytest.raises(UserError, match="filtered by the Python function evil:run"):
        command.main([str(dataset), "--input", str(corpus), "--repair"])


def test_spans_and_sentences_beyond_their_documents_are_named(tokenizer: Path, tmp_path: Path) -> None:
    config = PipelineConfig(
        input=write_kinds(tmp_path / "raw"), output=tmp_path / "d" / "x", tokenizer=tokenizer, workers=1,
        sentence_borders=True, val_fraction=0, max_bad_fraction=0.2,
    )  # fmt: skip
    process(config)
    names = [name for name in every_file(config.output) if name.endswith((".spans.npy", ".sents.npy"))]
    assert len(names) == 4  # train and test have both tables
    for name in names[:2]:
        data = bytearray((config.output / name).read_bytes())
        data[-1] ^= 0x10  # the end of the last row
        (config.output / name).write_bytes(data)
        reseal(config.output, name)
    assert set(verify(config.output, None).problems.found) == set(names[:2])
