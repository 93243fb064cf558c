"""`inference.py` with encoders: every mode, its JSON, its files, and what it refuses."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foundation.errors import UserError
from inference import BertInference, TextEncoder, main
from model.directory import save_model_directory
from model.encoder.encoder import Encoder
from model.encoder.heads import Heads
from tests.generation.encoder.conftest import CLASSES, PRETRAINING
from tokenization.tokenizer import Tokenizer

PLAIN = ["--device", "cpu", "--dtype", "float32"]


@pytest.fixture(scope="module")
def out(
    kinds: Callable[[str], Tokenizer], make_encoder: Callable[..., Encoder], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A directory with a pretrained encoder, a classifier, and an encoder without a head."""
    tokenizer = kinds("wordpiece")
    below = tmp_path_factory.mktemp("place") / "out"
    for name, heads, ours in (
        ("bare", Heads(), {}),
        ("mlm/best", PRETRAINING, {"task": "mlm"}),
        ("classes/best", CLASSES, {"task": "classify", "temperature": 1.7}),
    ):
        save_model_directory(
            below / name,
            make_encoder(tokenizer, heads),
            tokenizer_files=tokenizer.files(),
            generation={"pad_token_id": tokenizer.roles.pad},
            mateconv=ours,
        )
    return below


@pytest.fixture
def run(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`run("mlm", …)`: the command's output with that model, in the directory above out/."""
    monkeypatch.chdir(out.parent)

    def call(model: str, *arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["--model_path", f"out/{model}", *PLAIN, *arguments]) == code
        return capsys.readouterr().out

    return call


def api(out: Path, model: str) -> TextEncoder:
    return TextEncoder.from_path(out / model, "cpu", "float32")


def test_fill_mask(run: Callable[..., str], out: Path) -> None:
    text = "the [MASK] was [MASK]."
    masks = api(out, "mlm").fill_mask(text, 3)
    found = json.loads(run("mlm", "--fill_mask", text, "--top_k", "3", "--json"))
    assert found["text"] == text
    for shown, mask in zip(found["masks"], masks, strict=True):
        assert shown["position"] == mask.position
        keys = [(p["token"], p["token_id"], p["logit"], p["probability"]) for p in shown["predictions"]]
        assert keys == [(g.token, g.token_id, g.logit, g.probability) for g in mask.predictions] and len(keys) == 3
    lines = run("mlm", "--fill_mask", text).splitlines()
    assert lines[0] == f"[MASK] at position {masks[0].position}:" and len(lines) == 12  # five answers unless told
    best = masks[0].predictions[0]
    assert lines[1] == f"  {best.token}: logit={best.logit:.3f}, prob={best.probability:.6f}"


def test_classify(run: Callable[..., str], out: Path) -> None:
    expected = api(out, "classes").classify(["the film was great"])[0]
    found = json.loads(run("classes", "--classify", "the film was great", "--json"))
    assert found["label"] == expected.label and found["predicted_class"] == CLASSES.labels.index(expected.label)
    assert found["probabilities"] == expected.probabilities and sum(expected.probabilities.values()) == pytest.approx(1)
    assert found["confidence"] == max(found["probabilities"].values()) and found["calibrated"] is True
    shown = run("classes", "--classify", "the film was great").splitlines()
    assert shown[0] == f"{expected.label}: {expected.confidence:.4f} (calibrated)" and len(shown) == 4


def test_similarity(run: Callable[..., str], out: Path) -> None:
    expected = api(out, "mlm").similarity("the cat", "a movie")
    assert run("mlm", "--similarity", "the cat", "a movie") == f"{expected:.4f}\n"
    found = json.loads(run("bare", "--similarity", "the cat", "a movie", "--json"))
    assert found["texts"] == ["the cat", "a movie"] and -1 <= found["similarity"] <= 1


@pytest.mark.parametrize("batch_size", ["1", "16"])
def test_classify_file(run: Callable[..., str], out: Path, tmp_path: Path, batch_size: str) -> None:
    source = tmp_path / "reviews.jsonl"
    good = {1: "the film was great", 3: "no", 130: ""}
    lines = [json.dumps({"text": "cat"})] * 130
    for number, text in good.items():
        lines[number - 1] = json.dumps({"text": text, "id": 7})
    lines[1], lines[3], lines[128] = "not json", '{"text": 3}', "["
    source.write_text("\n".join(lines), encoding="utf-8")
    target = tmp_path / "classes.jsonl"
    options = ["--classify_file", str(source), "--batch_size", batch_size]
    assert run("classes", *options, "--output", str(target), code=1) == ""
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in rows] == list(range(1, 131))
    assert [row["line"] for row in rows if "error" in row] == [2, 4, 129]
    encoder = api(out, "classes")
    for number, text in good.items():
        expected, row = encoder.classify([text])[0], rows[number - 1]
        assert (row["text"], row["label"]) == (text, expected.label)
        assert row["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert run("classes", *options, "--json", code=1).splitlines() == target.read_text(encoding="utf-8").splitlines()


def test_classify_a_text_file_for_people(run: Callable[..., str], out: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"the film\n\n" + "我爱\n".encode() + b"\xff\n")
    shown = run("classes", "--classify_file", str(tmp_path / "a.txt"), code=1).splitlines()
    first = api(out, "classes").classify(["the film"])[0]
    assert shown[0] == f"{first.label}\t{first.confidence:.4f}\tthe film"
    assert shown[1].endswith("\t我爱") and shown[2] == "(line 4: not UTF-8 text at byte 1)" and len(shown) == 3


def test_embed_file(run: Callable[..., str], out: Path, tmp_path: Path) -> None:
    source = tmp_path / "texts.txt"
    source.write_text("the cat\n\na movie was good\n" * 30, encoding="utf-8")
    found = json.loads(run("bare", "--embed_file", str(source), "--json", "--batch_size", "1"))
    assert found == {"output": str(tmp_path / "texts.npy"), "texts": 90, "width": 36}
    vectors = np.load(tmp_path / "texts.npy")
    assert vectors.dtype == np.float32 and vectors.shape == (90, 36)
    expected = api(out, "bare").embed(["the cat", "", "a movie was good"])  # row n is line n
    assert np.abs(vectors - np.tile(expected, (30, 1))).max() < 1e-5
    run("bare", "--embed_file", str(source), "--output", str(tmp_path / "other.npy"))
    assert np.array_equal(np.load(tmp_path / "other.npy").shape, vectors.shape)
    source.write_bytes(b"fine\n\xff\n\xfe\n\xfe\n\xfe\n")
    with pytest.raises(UserError, match=r"line 2: not UTF-8 text at byte 1; line 3: .* and 1 more; mend or remove"):
        run("bare", "--embed_file", str(source), "--output", str(tmp_path / "bad.npy"))
    with pytest.raises(UserError, match=r"vectors are written as \.npy"):
        run("bare", "--embed_file", str(source), "--output", str(tmp_path / "bad.csv"))
    assert not (tmp_path / "bad.npy").exists()


@pytest.mark.parametrize(
    ("model", "mode", "name", "written"),
    [("classes", "--classify_file", "a.jsonl", b'"label"'), ("bare", "--embed_file", "a.npy", b"NUMPY")],
)
def test_results_take_no_place_but_their_own(
    run: Callable[..., str], tmp_path: Path, model: str, mode: str, name: str, written: bytes
) -> None:
    source, output = tmp_path / "texts.jsonl", tmp_path / name
    source.write_text('{"text": "the cat", "id": 7}\n')
    before = source.read_bytes()
    output.hardlink_to(source)
    with pytest.raises(UserError, match="is the file that is read"):
        run(model, mode, str(source), "--output", str(output))
    assert source.read_bytes() == before
    output.unlink()
    os.mkfifo(output)
    with pytest.raises(UserError, match="is a directory, a device or a pipe"):
        run(model, mode, str(source), "--output", str(output))
    output.unlink()
    output.symlink_to("elsewhere")
    run(model, mode, str(source), "--output", str(output))
    assert output.is_symlink() and written in (tmp_path / "elsewhere").read_bytes()


@pytest.mark.parametrize(
    ("model", "lines", "says"),
    [
        (
            "mlm",
            ["the [MASK] was", "no mask", "\ud800 [MASK]", "quit"],
            ["[MASK] at position 2:", "no [MASK] in it", "surrogate"],
        ),
        ("classes", ["the film was great", "q"], ["(calibrated)", "  good: 0."]),
    ],
)
def test_interactive(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, model: str, lines: list[str], says: list[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    shown = run(model, "--interactive")
    assert all(part in shown for part in says)
    assert shown.count("> ") == len(lines)  # the last one leaves, or the input ends


def test_the_newest_model_is_taken(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(out.parent)
    newest = max(out.rglob("config.json"), key=lambda path: (path.stat().st_mtime, str(path))).parent
    assert newest.parent.name == "classes"
    assert main(["--classify", "no", *PLAIN]) == 0
    assert "(calibrated)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "arguments", "says"),
    [
        ("bare", ["--fill_mask", "[MASK]"], r"^out/bare: this model is an encoder without a head, it can't fill masks"),
        ("bare", ["--fill_mask", "[MASK]"], r"an encoder with .*--task mlm.* Under out/: out/mlm/best \(--model"),
        ("bare", ["--fill_mask", "[MASK]"], r"This one can embed and compare texts \(--similarity, --embed_file\)$"),
        ("classes", ["--fill_mask", "[MASK]"], r"an encoder that classifies \(bad, fair, good\), it can't fill masks"),
        ("mlm", ["--classify", "x"], r"out/mlm/best: .* it can't classify; .*Classification\).*out/: out/classes/best"),
        ("mlm", ["--classify_file", "x.txt"], "it can't classify"),
        ("mlm", ["--prompt", "x"], r"it can't write text; that takes a decoder.*This one can fill masks \(--fill_mask"),
        ("mlm", ["--batch_file", "x.txt"], "it can't write text"),
        ("bare", ["--interactive"], "it can't fill masks"),
        ("mlm", ["--fill_mask", "nothing missing"], r"no \[MASK\] in 'nothing missing'"),
        ("mlm", ["--fill_mask", "[MASK]", "--top_k", "0"], "at least 1"),
        ("mlm", ["--interactive", "--top_k", "0"], "at least 1"),
        ("mlm", ["--fill_mask", "[MASK]", "--temperature", "1"], "--temperature is about writing text"),
        ("mlm", ["--similarity", "x"], "takes two texts, got 1"),
        ("mlm", ["--similarity", "x", "y", "--fill_mask", "z"], "--fill_mask and --similarity exclude each other"),
        ("mlm", ["--similarity", "x", "y", "--output", "z"], "--output goes with"),
        ("mlm", ["--interactive", "--json"], "--json goes with"),
        ("classes", ["--classify_file", "x.csv"], r"x\.csv: a file to classify is \.txt"),
        ("classes", ["--classify_file", "missing.txt"], r"missing\.txt: no such file; check --classify_file"),
        ("bare", ["--embed_file", "missing.jsonl"], "check --embed_file"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(run: Callable[..., str], model: str, arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        run(model, *arguments)


def test_empty_files_are_named(run: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    for model, mode in (("classes", "--classify_file"), ("bare", "--embed_file")):
        with pytest.raises(UserError, match="holds no text; write one a line"):
            run(model, mode, str(tmp_path / "empty.txt"), "--output", str(tmp_path / "o.npy"))
    assert [path.name for path in tmp_path.iterdir()] == ["empty.txt"]


def test_a_decoder_asked_for_what_encoders_do(run_directory: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out.parent)
    for arguments in (["--fill_mask", "[MASK]"], ["--classify", "x"], ["--similarity", "x", "y"]):
        with pytest.raises(UserError, match=r"run/best: this model is a decoder, it can't .*Under out/: out/"):
            main(["--model_path", str(run_directory), *PLAIN, *arguments])


def test_bert_inference_returns_what_bert2_s_users_know(out: Path) -> None:
    pretrained = BertInference(out / "mlm", "pretraining", device="cpu", dtype="float32")
    result: Any = pretrained.predict_masked_tokens("the [MASK] was great", top_k=3)
    assert [list(mask) for mask in result] == [["position", "predictions"]] and result[0]["position"] == 2
    assert len(result[0]["predictions"]) == 3
    assert {"token", "probability", "token_id"} <= set(result[0]["predictions"][0])
    best = [p["probability"] for p in result[0]["predictions"]]
    assert best == sorted(best, reverse=True)
    assert len(pretrained.predict_masked_tokens("[MASK] [MASK]")[0]["predictions"]) == 5
    assert pretrained.predict_masked_tokens("nothing") == []
    value = pretrained.compute_text_similarity("the cat", "a movie")
    assert isinstance(value, float) and -1 <= value <= 1
    assert pretrained.extract_embeddings(["a", "b c"]).shape == (2, 36)
    classifier = BertInference(str(out / "classes"), model_type="classification", device="cpu", dtype="float32")
    found = classifier.classify_text("the film was great")
    assert found["confidence"] == found["all_probabilities"][found["predicted_class"]]
    assert found["label"] == CLASSES.labels[found["predicted_class"]] and len(found["all_probabilities"]) == 3
    assert BertInference(out / "bare", "embedding").compute_text_similarity("no", "no") == pytest.approx(1, abs=1e-3)


def test_bert_inference_refuses_what_the_model_cannot_do(out: Path) -> None:
    with pytest.raises(ValueError, match="it can't classify"):
        BertInference(out / "mlm", "classification")
    with pytest.raises(ValueError, match="it can't fill masks"):
        BertInference(out / "classes")
    with pytest.raises(ValueError, match="'generation' is not known; use pretraining"):
        BertInference(out / "mlm", "generation")
    with pytest.raises(ValueError, match="make one with kind 'classification'"):
        BertInference(out / "mlm").classify_text("x")
    with pytest.raises(ValueError, match="make one with kind 'pretraining'"):
        BertInference(out / "classes", "classification").predict_masked_tokens("[MASK]")
