"""The report of a whole run: it says what stats.json says, fetches nothing, and no text becomes markup."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from foundation import atomic
from pipeline.config import PipelineConfig
from pipeline.process import process
from pipeline.report import page
from pipeline.report.making import Facts
from tests.foundation.page.reader import TAGS, Page

from ..conftest import Run, arguments, digests

HOSTILE = [
    "<script>alert(1)</script> is a text",
    '"><img src=x onerror=alert(1)>',
    "</style></div></body> <svg onload=alert(1)>",
    "<!-- never closed &lt;b&gt; &amp; ]]> <a href='https://example.org/x'>",
    "turned \u202e around \u200b with \x07 bell",
]
FACTS = Facts({"plan": 0.1, "map": 2.0, "map/read": 1.5}, 2, 10**7, 10**7, "python -m pipeline.process", "now", "one")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose texts, names, rejected, duplicate and unreadable records try to break the page."""
    place = tmp_path_factory.mktemp("hostile")
    texts = [*HOSTILE, *HOSTILE[:2], *(f"{HOSTILE[n % 5]} number {n} 世界" for n in range(60))]
    lines = [json.dumps({"text": text, "label": 1}).encode() for text in texts]
    lines += [b'{"text": "short"}', b"<script>alert(2)</script> is no JSON", b'{"text": "\xff<b>"}', b"\x00\x1b[31m"]
    raw = place / "<b onclick=x>raw&.jsonl"
    raw.write_bytes(b"\n".join(lines))
    config = PipelineConfig(
        input=[str(raw)], output=place / "d" / "x", vocab_size=300, workers=1, min_chars=8, max_bad_fraction=1,
        remove_control_characters=False, val_fraction=0.2,
    )  # fmt: skip
    process(config)
    return config.output


def test_no_text_becomes_markup(hostile: Path) -> None:
    source = (hostile / "report" / "index.html").read_text()
    found = Page(source)
    assert found.tags.keys() <= TAGS and not found.handlers
    assert found.links == ["data:,"]
    for text in (HOSTILE[0], HOSTILE[1], "<b onclick=x>raw&.jsonl", "<script>alert(2)</script> is no JSON"):
        assert text in found.shown
    assert "turned ⟨U+202E⟩ around" in found.shown and "⟨U+0000⟩⟨U+001B⟩[31m" in found.shown
    assert not set(source) & {"\u202e", "\u200b", "\x00", "\x07", "\x1b"}


def test_nothing_can_be_fetched(hostile: Path) -> None:
    source = (hostile / "report" / "index.html").read_text()
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in source.split("<body>")[0]
    style = source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style and "@import" not in style and "@font-face" not in style


def test_it_says_what_the_statistics_say(hostile: Path) -> None:
    stats = json.loads((hostile / "stats.json").read_text())
    shown = Page((hostile / "report" / "index.html").read_text()).shown
    for outcome, name in (("kept", "Kept"), ("duplicate", "Duplicates"), ("rejected", "Rejected")):
        assert f"{name}{stats['accounts'][outcome]['records']}" in shown
    assert stats["accounts"]["duplicate"]["records"] == 2 and "exact duplicates · 2 documents" in shown
    assert "too short · 1 record" in shown and "invalid json · " in shown
    sections = "What became of the records, Length of documents, Frequency of tokens, Most frequent tokens, Splits,"
    sections += "Writing systems, Vocabulary, Labels, Cleaning, Kept, Rejected, Unreadable, How it was made"
    for section in sections.split(","):
        assert section.strip() in shown


def test_the_drawings_are_there(hostile: Path) -> None:
    tags = Page((hostile / "report" / "index.html").read_text()).tags
    assert tags["svg"] == 3 and tags["rect"] > 12 and tags["path"] >= 6 and tags["polyline"] == 1 and tags["text"] > 25


def test_it_is_no_part_of_the_dataset(small: PipelineConfig, tmp_path: Path) -> None:
    process(small)
    with_report = digests(small.output)
    assert (small.output / "report" / "index.html").exists()
    process(small.model_copy(update={"report": False}), overwrite=True)
    assert not (small.output / "report").exists() and digests(small.output) == with_report


def test_a_failure_harms_nothing(
    small: PipelineConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("the page is broken")

    monkeypatch.setattr(page, "render", broken)
    result = process(small)
    assert result.manifest is not None and (small.output / "stats.json").exists()
    assert not (small.output / "report" / "index.html").exists()
    assert "the page is broken" in capsys.readouterr().err


def changed(output: Path, tmp_path: Path, **values: Any) -> Page:
    """The page of the same dataset with other statistics."""
    stats = json.loads((output / "stats.json").read_text())
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("manifest.json", "tokenizer", "train", "val", "rejected", "quarantine", "duplicates"):
        (copied / name).symlink_to(output / name)
    atomic.write_json(copied / "stats.json", {**stats, **values})
    path = page.write_report(copied, "copy", FACTS)
    assert path is not None
    return Page(path.read_text())


def test_thousands_of_sources_and_hundreds_of_reasons(hostile: Path, tmp_path: Path) -> None:
    stats = json.loads((hostile / "stats.json").read_text())
    [source] = stats["sources"].values()
    accounts = copy.deepcopy(stats["accounts"])
    accounts["rejected"]["reasons"] = {f"reason_{n}": {"records": n + 1, "bytes": 10} for n in range(300)}
    accounts["rejected"]["records"] = sum(range(301))
    accounts["read"]["records"] += accounts["rejected"]["records"] - 1
    found = changed(hostile, tmp_path, sources={f"part-{n:05}.jsonl": source for n in range(2003)}, accounts=accounts)
    assert "1,991 smaller sources" in found.shown and "1,491 more are in stats.json" in found.shown
    assert "292 other reasons" in found.shown
    assert (tmp_path / "copy" / "report" / "index.html").stat().st_size < 1_500_000


def test_nothing_rejected_nothing_drawn(hostile: Path, tmp_path: Path) -> None:
    none = {"records": 0, "bytes": 0, "reasons": {}}
    accounts = {
        "read": {"records": 47, "bytes": 900}, "kept": {"records": 47, "bytes": 900, "tokens": 300},
        "duplicate": {**none, "tokens": 0}, "rejected": none, "quarantined": none,
    }  # fmt: skip
    found = changed(hostile, tmp_path, accounts=accounts, labels={}, documents_changed_by_cleaning={})
    assert "all kept" in found.shown and "nan" not in found.shown
    assert "Labels" not in found.shown and "Cleaning" not in found.shown
    assert found.tags["section"] < Page((hostile / "report" / "index.html").read_text()).tags["section"]


def test_an_unwritable_place_is_a_warning(hostile: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "report").write_text("a file is in the way")
    for name in ("manifest.json", "tokenizer", "train", "stats.json"):
        (tmp_path / name).symlink_to(hostile / name)
    logging.getLogger("mateconv").propagate = True
    assert page.write_report(tmp_path, "x", FACTS) is None
    assert "the dataset is whole" in caplog.text


def test_a_full_disk_costs_the_page_alone(small: PipelineConfig, run: Run) -> None:
    done = run(*arguments(small), failpoint="publish.before_report:1:raise=ENOSPC")
    assert done.returncode == 0 and "could not be written" in done.stderr and "the dataset is whole" in done.stderr
    assert "report" not in done.stdout and not (small.output / "report" / "index.html").exists()
    assert "nothing to do" in run(*arguments(small), "--resume").stdout
