"""Directories, globs, lists with options of their own, class directories."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from foundation.config import load_config
from foundation.errors import UserError
from pipeline.config import PipelineConfig, ProcessFlags
from pipeline.sources.base import InputChanged, Limits
from pipeline.sources.registry import source_for
from tests.pipeline.sources.reading import read


def jsonl(path: Path, *texts: str, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text, **more}) + "\n" for text in texts))
    return path


def reviews(root: Path, count: int = 31) -> Path:
    """An aclImdb in small."""
    for split in ("train", "test"):
        for kind in ("pos", "neg", *(["unsup"] if split == "train" else [])):
            (root / split / kind).mkdir(parents=True)
            for n in range(count):
                (root / split / kind / f"{n}_7.txt").write_text(f"{split} {kind} {n}\n\nsecond paragraph")
        (root / split / "urls_pos.txt").write_text("http://example.org\n")
    (root / "imdbEr.txt").write_text("0.1\n")
    return root


def test_class_directories(tmp_path: Path) -> None:
    root = reviews(tmp_path / "aclImdb")
    found = read(root, block_bytes=300)
    names = [(file.name, file.options.split, file.options.label) for file in found.inputs]
    assert names == [
        ("test/neg", "test", 0), ("test/pos", "test", 1),
        ("train/neg", None, 0), ("train/pos", None, 1), ("train/unsup", None, -1),
    ]  # fmt: skip
    assert all(file.options.labels == ("neg", "pos") for file in found.inputs)
    assert len(found.texts) == 5 * 31 and 5 < len(found.tasks) < 40
    for document in found.documents:
        split, kind, number = document.text.split("\n")[0].split()
        assert document.source == f"{split}/{kind}" and document.label == {"neg": 0, "pos": 1, "unsup": -1}[kind]
        assert sorted(os.listdir(root / document.source))[document.offset] == f"{number}_7.txt"
        assert document.line == document.offset + 1
    assert {file.options.split for file in read(root / "test").inputs} == {None}


def test_class_directories_that_are_asked_for(tmp_path: Path) -> None:
    for kind in ("sport", "politics"):
        (tmp_path / "news" / kind).mkdir(parents=True)
        (tmp_path / "news" / kind / "1.txt").write_text(f"about {kind}\n\nmore")
    assert read(tmp_path / "news").labels == [-1] * 4
    spec = {"path": str(tmp_path / "news"), "input_format": "class_directories"}
    found = read([spec])
    assert found.labels == [0, 1] and found.inputs[0].options.labels == ("politics", "sport")
    assert read([{**spec, "labels": ["sport", "politics"]}]).labels == [1, 0]
    with pytest.raises(UserError, match="'politics' is not in labels"):
        read([{**spec, "labels": ["sport"]}])


def test_directories_of_text_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        (tmp_path / "t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "t" / name).write_text(f"{name}\n\nmore")
    found = read([{"path": str(tmp_path / "t"), "input_format": "text_files"}])
    assert [(file.name, file.options.label) for file in found.inputs] == [("t", -1), ("sub", -1)]
    assert found.texts == ["a.txt\n\nmore", "b.txt\n\nmore", "sub/c.txt\n\nmore"] and len(found.tasks) == 2


def test_bad_files_of_a_class_directory(tmp_path: Path) -> None:
    root = reviews(tmp_path / "a", 4)
    (root / "test" / "pos" / "0_7.txt").write_bytes(b"caf\xe9")
    (root / "test" / "pos" / "1_7.txt").write_bytes(b"y" * 5000)
    (root / "test" / "pos" / "2_7.txt").write_bytes(b" \n")
    found = read(root / "test", max_record_bytes=4500)
    assert found.reasons == ["invalid_utf8", "record_too_large"]
    assert [(line, bad.offset) for _, line, bad in found.bad] == [(1, 0), (2, 1)]
    assert len(found.texts) == 4 + 1
    task = found.tasks[-1]
    (root / "test" / "pos" / "3_7.txt").write_text("changed")
    with pytest.raises(InputChanged):
        list(source_for(task.path, task.options).open(task, Limits(10**6, 10**6)))


def test_order_names_and_what_is_skipped(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", ".hidden.jsonl", ".git/d.jsonl", "sub/.cache/e.jsonl"):
        jsonl(tmp_path / name, name)
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    assert read(tmp_path).texts == ["a.jsonl", "b.jsonl", "sub/c.jsonl"]
    assert read(str(tmp_path / "*.jsonl")).texts == ["a.jsonl", "b.jsonl"]
    assert read(str(tmp_path / "**" / "*.jsonl")).texts == ["a.jsonl", "b.jsonl", "sub/c.jsonl"]
    assert read([tmp_path / "b.jsonl", tmp_path / "sub"]).texts == ["b.jsonl", "sub/c.jsonl"]
    jsonl(tmp_path / "other" / "c.jsonl", "x")
    names = [file.name for file in read([tmp_path / "sub", tmp_path / "other"]).inputs]
    assert names == ["0/c.jsonl", "1/c.jsonl"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    jsonl(tmp_path / "elsewhere" / "b.jsonl", "linked")
    jsonl(tmp_path / "in" / "a.jsonl", "plain")
    (tmp_path / "in" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "d").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    assert read(tmp_path / "in").texts == ["plain", "linked"]


def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", "x")
    with pytest.raises(UserError, match="given twice"):
        read([tmp_path, tmp_path / "." / "a.jsonl"])


def test_options_of_one_input(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", "from a", body="not this", label=1)
    (tmp_path / "b.csv").write_text("title,body,sentiment\nT,B,pos\n")
    (tmp_path / "c.txt").write_text("one\ntwo")
    found = read(
        [
            {"path": str(tmp_path / "a.jsonl"), "label_field": None, "weight": 0.5},
            {"path": str(tmp_path / "b.csv"), "text_template": "{title}: {body}", "label_field": "sentiment",
             "labels": ["neg", "pos"], "split": "test"},
            str(tmp_path / "c.txt"),
        ],
        text_documents="line",
    )  # fmt: skip
    assert found.texts == ["from a", "T: B", "one", "two"] and found.labels == [-1, 1, -1, -1]
    assert [(file.options.split, file.options.weight) for file in found.inputs] == [
        (None, 0.5),
        ("test", 1.0),
        (None, 1.0),
    ]
    assert found.inputs[1].options.entry()["labels"] == ["neg", "pos"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "a", "textfield": "x"}, "unknown key 'textfield'; did you mean text_field"),
        ({"text_field": "x"}, "path: Field required"),
        ({"path": "a", "csv_delimiter": "ab"}, "csv_delimiter: must be one"),
        ({"path": "a", "split": "dev"}, "split: Input should be 'train', 'val' or 'test'"),
        ({"path": "a", "weight": 0}, "weight: "), ({"path": "a", "text_separator": ""}, "text_separator: must not be"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_mapping_is_named(tmp_path: Path, given: dict[str, object], message: str) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"pipeline": {"seed": 1, "input": ["x", given]}}))
    with pytest.raises(UserError, match=rf"c\.yaml:2: input: {message}"):
        load_config("x", "", {"pipeline": PipelineConfig}, ProcessFlags, ["--config", str(tmp_path / "c.yaml")])


def test_a_format_that_the_name_does_not_tell(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "corpus.data", "x")
    with pytest.raises(UserError, match="input_format"):
        read(path)
    assert read([{"path": str(path), "input_format": "jsonl"}]).texts == ["x"]
    (tmp_path / "t.csv").write_text("text\tlabel\na,b\t1\n")
    assert read(tmp_path / "t.csv", input_format="tsv").texts == ["a,b"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, message in (
        (tmp_path / "nothing.jsonl", "no such file"), (tmp_path / "empty", "no text in this directory"),
        ("nope://x/y.jsonl", "nope"), ("http://127.0.0.1:9/x.jsonl", "127.0.0.1"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            read(given)


def test_the_key_of_a_task_is_its_own(tmp_path: Path) -> None:
    """Neither neighbours nor the place among the inputs nor the path change it; content and options do."""
    for name in ("b", "d"):
        jsonl(tmp_path / "x" / f"{name}.jsonl", *(f"{name} {n}" for n in range(50)))
    before = {task.path: task.key for task in read(tmp_path / "x").tasks}
    jsonl(tmp_path / "x" / "a.jsonl", "new")
    after = {task.path: task.key for task in read(tmp_path / "x").tasks}
    assert before.items() < after.items()
    (tmp_path / "x").rename(tmp_path / "y")
    assert set(after.values()) == {task.key for task in read(tmp_path / "y").tasks}
    assert set(after.values()).isdisjoint(task.key for task in read(tmp_path / "y", text_field="body").tasks)


def test_directories_are_told_apart_by_what_their_files_hold(tmp_path: Path) -> None:
    """Names, sizes and times are soon the same: an archive of a repository gives all files one time."""
    for name, text in (("a", "one river"), ("b", "the sea.."), ("c", "one river")):
        for number in range(200):
            file = tmp_path / "books" / name / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text} {number % 10}")
            os.utime(file, (10**9, 10**9))
    found = read(tmp_path / "books", input_format="text_files")
    sizes, stamps, _ = zip(*(task.identity for task in found.tasks), strict=True)
    assert len(found.tasks) == 3 and len(set(sizes)) == len(set(stamps)) == 1
    first, other, copy = (task.key for task in found.tasks)
    assert first == copy != other
    shutil.copytree(tmp_path / "books" / "b", tmp_path / "moved")  # keeps the times
    assert [task.key for task in read(tmp_path / "moved", input_format="text_files").tasks] == [other]


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 9, 10, 11, 99])
def test_the_first_records_of_all_inputs(tmp_path: Path, limit: int) -> None:
    jsonl(tmp_path / "a.jsonl", *(f"a{n}" for n in range(4)))
    (tmp_path / "b.csv").write_text('text\nb0\n"b1\nmore"\nb2,bad\n')
    (tmp_path / "c.txt").write_text("c0\n\nc1\n\nc2")
    found, whole = read(tmp_path, max_samples=limit, block_bytes=64), read(tmp_path)
    order = [d.text for d in whole.documents]
    order.insert(6, "bad")
    kept = order[:limit]
    assert found.texts == [text for text in kept if text != "bad"] and len(found.bad) == ("bad" in kept)
