"""A dataset mixes no versions of the program or of its libraries: what others made is made again, and that is said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from foundation.errors import UserError
from pipeline import verify
from pipeline.cleaning.base import Texts
from pipeline.cleaning.cleaner import Cleaner
from pipeline.config import PipelineConfig
from pipeline.mapping.versions import MAPPING_VERSION
from pipeline.process import process
from tokenization.train import train_byte_bpe

from .conftest import InProcess, digests

BYTES = {1: "e907b144553d84f5e6d276796e6fb54e2d8d56a5d8bf00807f7e8faff7b7682b"}
"""SHA-256 of the shards of DIRTY. Where it changes, so do the bytes of datasets: raise MAPPING_VERSION and put the new
pair here."""
DIRTY = [
    "The  quick brown\r\nfox.\n\n\n\nIt ran \x07 over <br/>the hill &amp; away. ",
    "cafÃ© and cafe\u0301, \u201cquoted\u201d\u00a0text \x93here\x94. ",
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。",
    "<p>A paragraph</p> with <b>tags</b>, a@b.example and https://example.org/path. ",
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。",
]


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pipeline.run.make_executor", lambda config, setup, tasks: InProcess(setup))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def config(tokenizer: Path, tmp_path: Path) -> PipelineConfig:
    """Three files of one task each."""
    for name in ("a", "b", "c"):
        write(tmp_path / "raw" / f"{name}.jsonl", [f"the river {name} runs", f"rain over {name}"])
    return PipelineConfig(
        input=[str(tmp_path / "raw")], output=tmp_path / "sets" / "x", tokenizer=tokenizer, val_fraction=0
    )


def write(path: Path, texts: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the program is another version, whose cleaning writes capitals."""
    clean = Cleaner.clean_batch

    def loud(self: Cleaner, texts: list[bytes]) -> Texts:
        return Texts([text.upper() for text in clean(self, texts).texts])

    monkeypatch.setattr(Cleaner, "clean_batch", loud)
    monkeypatch.setattr("pipeline.mapping.versions.MAPPING_VERSION", MAPPING_VERSION + 1)


def fresh(config: PipelineConfig) -> dict[str, str]:
    """The files of a dataset made anew, elsewhere."""
    other = PipelineConfig(
        input=config.input, output=config.output.parent.parent / "fresh" / "x", tokenizer=config.tokenizer,
        val_fraction=0,
    )  # fmt: skip
    process(other)
    return digests(other.output)


@pytest.mark.parametrize("added", [False, True])
def test_a_finished_dataset_is_made_anew(
    config: PipelineConfig,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    added: bool,
) -> None:
    """Whether or not there is new input."""
    process(config)
    before = digests(config.output)
    upgrade(monkeypatch)
    if added:
        write(tmp_path / "raw" / "d.jsonl", ["a sea sleeps"])
    capfd.readouterr()
    result = process(config, resume=True)
    said = "".join(capfd.readouterr())
    assert result.changed and result.manifest is not None
    assert result.manifest.versions["mapping"] == str(MAPPING_VERSION + 1)
    assert f"made with other versions (mapping {MAPPING_VERSION}, now {MAPPING_VERSION + 1})" in said
    assert f"3 of {3 + added} tasks were mapped with other versions" in said
    assert before != digests(config.output) == fresh(config)
    assert not process(config, resume=True).changed


@pytest.mark.parametrize("url", [False, True])
def test_half_done_work_is_done_again(
    config: PipelineConfig,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    url: bool,
) -> None:
    """In a directory and at a URL; one of the tasks was mapped after the upgrade."""
    place = {"work_directory": f"file://{tmp_path}/work"} if url else {}
    config = PipelineConfig(**{**config.model_dump(exclude_defaults=True), **place})
    process(config.model_copy(update={"task_slice": "1/3"}))
    process(config.model_copy(update={"task_slice": "2/3"}))
    upgrade(monkeypatch)
    process(config.model_copy(update={"task_slice": "3/3"}))
    capfd.readouterr()
    process(config, resume=True)
    assert "2 of 3 tasks were mapped with other versions" in "".join(capfd.readouterr())
    assert digests(config.output) == fresh(config)


def test_parts_that_do_not_say_their_versions_are_made_again(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as early:
        early.setattr("pipeline.mapping.map_task.versions", lambda settings: {})
        process(config.model_copy(update={"task_slice": "1/1"}))
    process(config, resume=True)
    said = "".join(capfd.readouterr())
    assert f"3 of 3 tasks were mapped with other versions (mapping unknown, now {MAPPING_VERSION}, " in said


def test_libraries_that_a_setting_asks_for_count(config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    mended = config.model_copy(update={"repair_mojibake": True})
    monkeypatch.setattr("pipeline.mapping.versions.metadata.version", lambda package: f"1 of {package}")
    made = process(mended).manifest
    assert made is not None and made.versions["ftfy"] == "1 of ftfy"
    assert not process(mended, resume=True).changed
    monkeypatch.setattr("pipeline.mapping.versions.metadata.version", lambda package: f"2 of {package}")
    assert process(mended, resume=True).changed


def test_a_damaged_dataset_of_other_versions_is_not_made_again_in_vain(
    config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(config)
    (config.output / "stats.json").write_text("{}")
    upgrade(monkeypatch)
    with pytest.raises(UserError, match=r"made with other versions \(mapping .*--resume. makes it anew"):
        verify.main([str(config.output), "--input", *map(str, config.input), "--repair"])


def test_the_bytes_of_this_mapping_version(tmp_path: Path) -> None:
    train_byte_bpe(["a"], 264).save(tmp_path / "tokenizer")  # no merges: every byte is a token
    write(tmp_path / "raw" / "dirty.jsonl", DIRTY)
    config = PipelineConfig(
        input=[str(tmp_path / "raw")], output=tmp_path / "sets" / "x", tokenizer=tmp_path / "tokenizer",
        repair_mojibake=True, remove_html_tags=True, decode_html_entities=True, near_dedup=True, max_length=101,
        val_fraction=0.3, tokenizer_engine="reference",
    )  # fmt: skip
    process(config)
    shards = sorted(path for path in config.output.glob("*/*") if path.parent.name in ("train", "val"))
    made = hashlib.sha256(b"".join(path.read_bytes() for path in shards)).hexdigest()
    assert {MAPPING_VERSION: made} == BYTES, BYTES.__doc__
