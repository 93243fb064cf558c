"""A flipped bit anywhere is named, and repaired to the very bytes that were there."""

from __future__ import annotations

import bz2
import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from foundation import fingerprint
from foundation.errors import UserError
from foundation.locks import DirectoryLock
from pipeline import verify as command
from pipeline.config import PipelineConfig
from pipeline.parts import Part
from pipeline.place import lock_path
from pipeline.process import process
from pipeline.settings.inputs import InputSpec
from pipeline.sources.base import Task
from pipeline.verification.checksums import write_checksums
from pipeline.verification.shard_repair import ShardRepair
from pipeline.verify import verify
from shards.dataset import Dataset
from shards.manifest import FileEntry, Manifest

from .conftest import digests, documents

ROOT = Path(__file__).resolve().parents[2]


def configuration(corpus: Path, tokenizer: Path | None, output: Path) -> PipelineConfig:
    return PipelineConfig(
        input=[str(corpus)], output=output, tokenizer=tokenizer, workers=1, vocab_size=400,
        block_bytes=9000, shard_tokens=7000, val_fraction=0.1, test_fraction=0.05, max_bad_fraction=0.2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def original(corpus: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with its work area; read only."""
    output = tmp_path_factory.mktemp("original") / "dataset" / "x"
    process(configuration(corpus, tokenizer, output))
    return output


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    """A copy of it, with its work area, that a test may damage."""
    shutil.copytree(original.parent, tmp_path / "dataset")
    return tmp_path / "dataset" / "x"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file but the defaults."""
    monkeypatch.chdir(tmp_path)


def flip(path: Path, seed: int) -> None:
    data = bytearray(path.read_bytes())
    place = random.Random(f"{seed}{path.name}").randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def every_file(dataset: Path) -> list[str]:
    return sorted(path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file())


def work(dataset: Path) -> Path:
    return next(path for path in (dataset.parent / ".work").iterdir() if path.is_dir())


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


def reseal(dataset: Path, name: str) -> None:
    """Let the manifest and the list vouch for a changed shard file: what a wrong program would have written."""
    manifest = json.loads((dataset / "manifest.json").read_bytes())
    split, _, rest = name.partition("/")
    shard, _, suffix = rest.partition(".")
    for entry in manifest["splits"][split]["shards"]:
        if entry["name"] == shard:
            data = (dataset / name).read_bytes()
            entry["files"]["." + suffix] = FileEntry(
                bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
            ).model_dump()
    (dataset / "manifest.json").write_bytes(Manifest.model_validate(manifest).encode())
    write_checksums(dataset)


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


@pytest.mark.parametrize("keep_work", [True, False])
def test_every_file_is_repaired_to_the_same_bytes(dataset: Path, corpus: Path, keep_work: bool) -> None:
    whole = digests(dataset)
    for name in every_file(dataset):
        # What the others are known by is damaged one at a time, in the next test.
        if name not in ("manifest.json", "SHA256SUMS") and not name.startswith("tokenizer/"):
            flip(dataset / name, 5)
    if not keep_work:
        shutil.rmtree(dataset.parent / ".work")
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


@pytest.mark.parametrize("name", ["manifest.json", "SHA256SUMS", "tokenizer/tokenizer.json"])
def test_what_others_are_known_by_is_repaired_too(dataset: Path, corpus: Path, name: str) -> None:
    whole = digests(dataset)
    flip(dataset / name, 11)
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def refuse_to_make_again(*_: object, **__: object) -> None:
    raise AssertionError("the dataset must not be made again for this")


def test_a_shard_is_rebuilt_from_the_parts_alone(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the inputs, and without making the rest again."""
    whole = digests(dataset)
    for name in whole:
        if name.endswith((".bin", ".idx")):
            flip(dataset / name, 4)
    monkeypatch.setattr("pipeline.verification.repair.process", refuse_to_make_again)
    assert command.main([str(dataset), "--repair"]) == 0
    assert digests(dataset) == whole


@pytest.mark.parametrize("max_length", [None, 31])
def test_only_the_tasks_of_a_damaged_shard_are_mapped(
    corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_length: int | None
) -> None:
    config = configuration(corpus, tokenizer, tmp_path / "dataset" / "x")
    process(config.model_copy(update={"max_length": max_length, "block_bytes": 5000, "shard_tokens": 4000}))
    dataset, whole = config.output, digests(config.output)
    shutil.rmtree(dataset.parent / ".work")
    mapped: list[Task] = []
    real = ShardRepair._map

    def remember(self: ShardRepair, task: Task) -> Part:
        mapped.append(task)
        return real(self, task)

    monkeypatch.setattr(ShardRepair, "_map", remember)
    monkeypatch.setattr("pipeline.verification.repair.process", refuse_to_make_again)
    opened = Dataset.open(dataset, "train")
    for shard in opened.shards:
        assert shard.records is not None
        sources = set(shard.records["source"].tolist())
        (tmp_path / "some").mkdir()
        for number in sources:  # the other inputs are gone
            name = Manifest.load(dataset).inputs[number].name
            shutil.copy2(corpus / name, tmp_path / "some" / name)
        flip(shard.path, 9)
        mapped.clear()
        assert command.main([str(dataset), "--input", str(tmp_path / "some"), "--repair"]) == 0
        assert digests(dataset) == whole
        for task in mapped:
            if task.path.endswith(".jsonl"):
                offsets = shard.records["offset"]
                assert ((offsets >= task.start) & (offsets < task.end)).any()
        shutil.rmtree(tmp_path / "some")
    assert len(opened.shards) > 5


def test_a_damaged_part_is_made_again(dataset: Path, corpus: Path) -> None:
    whole = digests(dataset)
    flip(next(dataset.rglob("*.bin")), 1)
    for part in (work(dataset) / "parts").iterdir():
        flip(part / "tokens.bin", 1)
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def test_a_trained_tokenizer_stays_frozen(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "dataset" / "y"
    process(configuration(corpus, None, output))
    whole = digests(output)
    shutil.rmtree(output.parent / ".work")
    flip(next(output.rglob("*.bin")), 1)
    assert command.main([str(output), "--input", str(corpus), "--repair"]) == 0
    assert digests(output) == whole


def test_repair_that_cannot_be_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    shutil.rmtree(dataset.parent / ".work")
    flip(next(dataset.rglob("*.bin")), 1)
    damaged = digests(dataset)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jsonl").write_text('{"text": "another file of this name"}\n')
    with pytest.raises(UserError, match=r"(?s)nothing was changed.*a.jsonl has 38 bytes.*b.jsonl: not found"):
        command.main([str(dataset), "--input", str(tmp_path / "elsewhere"), "--repair"])
    assert digests(dataset) == damaged
    assert not [path for path in dataset.parent.rglob(".tmp-*")]


def test_repair_waits_for_nobody(dataset: Path, corpus: Path) -> None:
    flip(next(dataset.rglob("*.bin")), 1)
    with (
        DirectoryLock(lock_path(dataset), "a test"),
        pytest.raises(UserError, match=f"in use by process {os.getpid()}"),
    ):
        command.main([str(dataset), "--input", str(corpus), "--repair"])


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


def write_kinds(directory: Path) -> list[str | InputSpec]:
    """One input of every family of formats, with options of its own."""
    directory.mkdir()
    texts = {name: documents(60, seed) for seed, name in enumerate(("table", "rows", "array", "chat", "plain"))}
    rows = [{"body": text, "label": number % 3} for number, text in enumerate(texts["table"])]
    parquet.write_table(pa.Table.from_pylist(rows), directory / "table.parquet", row_group_size=17)
    with (directory / "rows.csv").open("w", newline="") as out:
        writer = csv.DictWriter(out, ["text"])
        writer.writeheader()
        writer.writerows({"text": text} for text in texts["rows"])
    (directory / "array.json").write_text(json.dumps([{"text": text} for text in texts["array"]]))
    turns = [[{"role": "user", "content": text[:40]}, {"role": "assistant", "content": text}] for text in texts["chat"]]
    (directory / "chat.jsonl").write_text("".join(json.dumps({"messages": pair}) + "\n" for pair in turns))
    (directory / "plain.txt.bz2").write_bytes(bz2.compress("\n\n".join(texts["plain"]).encode()))
    return [
        InputSpec(path=str(directory / "table.parquet"), text_field="body", weight=2.5),
        *(str(directory / name) for name in ("rows.csv", "array.json", "chat.jsonl")),
        InputSpec(path=str(directory / "plain.txt.bz2"), split="test"),
    ]


@pytest.mark.parametrize("max_length", [None, 31])
def test_every_kind_of_input_is_checked_and_repaired(tokenizer: Path, tmp_path: Path, max_length: int | None) -> None:
    inputs = write_kinds(tmp_path / "raw")
    config = PipelineConfig(
        input=inputs, output=tmp_path / "dataset" / "kinds", tokenizer=tokenizer, workers=1, block_bytes=4000,
        shard_tokens=9000, max_length=max_length, sentence_borders=True, val_fraction=0.1, max_bad_fraction=0.2,
    )  # fmt: skip
    process(config)
    report = verify(config.output, [str(tmp_path / "raw")], samples=10**6)
    assert not report.problems and not report.notes, (list(report.problems.lines()), report.notes)
    assert report.samples == sum(split.documents for split in Manifest.load(config.output).splits.values()) > 250
    whole = digests(config.output)
    assert {".spans.npy", ".sents.npy"} <= {"." + name.partition(".")[2] for name in whole}
    for name in whole:
        if name.partition("/")[0] in ("train", "val", "test"):
            flip(config.output / name, 3)
    shutil.rmtree(config.output.parent / ".work")
    assert command.main([str(config.output), "--input", str(tmp_path / "raw"), "--repair"]) == 0
    assert digests(config.output) == whole


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


def test_a_failed_repair_leaves_no_scratch(dataset: Path, corpus: Path) -> None:
    """An error in the middle: nothing half-written, and the same command then repairs."""
    whole = digests(dataset)
    flip(dataset / "stats.json", 1)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MATECONV_FAILPOINT": "publish.mid_split:1:raise=EIO"}
    options = [sys.executable, "-m", "pipeline.verify", str(dataset), "--input", str(corpus), "--repair"]
    failed = subprocess.run(options, env=environment, capture_output=True, text=True, check=False)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr, failed.stderr
    assert not [path for path in dataset.parent.rglob(".tmp-*")]
    assert command.main([str(dataset), "--input", str(corpus), "--repair"]) == 0
    assert digests(dataset) == whole


def test_work_in_another_directory_and_of_slices_repairs_too(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    """The configuration says where the work is; the journals of slices vouch for their parts."""
    config = configuration(corpus, tokenizer, tmp_path / "d" / "x")
    config = config.model_copy(update={"work_directory": str(tmp_path / "work")})
    for number in (1, 2):
        process(config.model_copy(update={"task_slice": f"{number}/2"}))
    process(config, resume=True)
    whole = digests(config.output)
    Path("config.yaml").write_text(f"pipeline: {{work_directory: {tmp_path / 'work'}}}\n")
    flip(next(config.output.rglob("*.bin")), 6)
    flip(next(config.output.rglob("*.idx")), 6)
    assert command.main([str(config.output), "--repair"]) == 0
    assert digests(config.output) == whole


def test_evaluation_files_are_asked_for_when_they_are_needed(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(20))
    (tmp_path / "exam.jsonl").write_text(json.dumps({"text": words}))
    config = configuration(corpus, tokenizer, tmp_path / "d" / "x")
    process(config.model_copy(update={"decontaminate": [str(tmp_path / "exam.jsonl")]}))
    whole, options = digests(config.output), [str(config.output), "--input", str(corpus), "--repair"]
    flip(config.output / "stats.json", 3)
    assert command.main(options) == 0 and digests(config.output) == whole  # the work area knows its n-grams
    shutil.rmtree(config.output.parent / ".work")
    flip(config.output / "stats.json", 3)
    with pytest.raises(UserError, match="its evaluation files are needed"):
        command.main(options)
    Path("config.yaml").write_text(f"pipeline: {{decontaminate: [{tmp_path / 'exam.jsonl'}]}}\n")
    assert command.main(options) == 0 and digests(config.output) == whole


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
