"""The task classify from the command line: it learns, measures, concludes; a stopped run goes on as if it never was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shards.dataset import Dataset
from tests.training.finetuning.conftest import NAMES, SIZES, good
from tests.training.test_model_card import front_matter, run_code
from tokenization.tokenizer import Tokenizer
from training.saving import checkpoint

PLACE = "out/finetune/reviews"
LONG = ("--max_steps", "90", "--eval_interval", "15", "--learning_rate", "0.005", "--truncation", "head_tail")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory, labelled_dataset: Path) -> Path:
    """A run that is long enough to tell the classes apart."""
    from tests.training.conftest import Command
    from tests.training.finetuning.conftest import RUN, TINY_ENCODER

    base = [*TINY_ENCODER, *RUN, "--train_data_path", str(labelled_dataset), "--task", "classify"]
    command = Command(tmp_path_factory.mktemp("learned"), base)
    good(
        command.call(
            "--max_steps", "90", "--eval_interval", "15", "--learning_rate", "0.005", "--truncation", "head_tail"
        )
    )
    return command.directory / PLACE


def documents(dataset: Path, split: str) -> list[tuple[list[int], int]]:
    """Tokens and label of the labelled documents of a split."""
    opened = Dataset.open(dataset, split)
    found = [(opened.document(n).tolist(), int(opened.record(n)["label"])) for n in range(opened.documents)]
    return [(tokens, label) for tokens, label in found if label >= 0]


def logits_of(model: Any, tokenizer: Tokenizer, tokens: list[int]) -> torch.Tensor:
    """What `transformers` says of one document alone; 17 tokens of it fit: 4 from its head and 13 from its tail."""
    roles = tokenizer.roles
    text = tokens if len(tokens) <= 17 else tokens[:4] + tokens[-13:]
    framed = torch.tensor([[roles.cls, *text, roles.sep]])
    with torch.no_grad():
        logits: torch.Tensor = model(framed, attention_mask=torch.ones_like(framed)).logits[0]
    return logits


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_metrics_are_those_of_the_best_model_in_transformers(
    learned: Path, labelled_dataset: Path, words: Tokenizer, split: str
) -> None:
    transformers = pytest.importorskip("transformers")
    sklearn = pytest.importorskip("sklearn.metrics")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(learned / "best").eval()
    assert model.config.id2label == dict(enumerate(NAMES))
    truth = np.array([label for _, label in documents(labelled_dataset, split)])
    logits = torch.stack([logits_of(model, words, tokens) for tokens, _ in documents(labelled_dataset, split)])
    said = logits.argmax(dim=1).numpy()
    found = json.loads((learned / f"{split}_metrics.json").read_text())
    assert found["documents"] == len(truth) == SIZES[split] - 1
    assert found["confusion_matrix"] == sklearn.confusion_matrix(truth, said).tolist()
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, said)) and found["accuracy"] > 0.8
    assert found["f1_weighted"] == pytest.approx(sklearn.f1_score(truth, said, average="weighted"))
    nats = torch.nn.functional.cross_entropy(logits.double() / found["temperature"], torch.from_numpy(truth))
    assert found["loss_calibrated"] == pytest.approx(float(nats), abs=1e-4)


def test_the_run_follows_the_share_of_wrong_answers(learned: Path) -> None:
    rows = [json.loads(line) for line in (learned / "metrics.jsonl").read_text().splitlines()]
    judged = [row for row in rows if "val_error" in row]
    best = min(judged, key=lambda row: row["val_error"])
    assert judged[0]["val_error"] > best["val_error"] == pytest.approx(1 - best["val_accuracy"])
    found = json.loads((learned / "val_metrics.json").read_text())
    assert found["step"] == best["step"] == checkpoint.load(learned / "ckpt.pth")["best"]["step"]
    for name in ("accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "loss"):
        assert found[name] == pytest.approx(best[f"val_{name}"])


def test_the_models_know_what_inference_must_do_alike(learned: Path) -> None:
    for name in ("best", "final"):
        ours = json.loads((learned / name / "config.json").read_text())["mateconv"]
        assert (ours["task"], ours["truncation"], ours["sequence_length"]) == ("classify", "head_tail", 19)
        assert 0.05 <= ours["temperature"] <= 20
    calibrated = json.loads((learned / "val_metrics.json").read_text())
    assert calibrated["loss_calibrated"] <= calibrated["loss"] + 1e-9
    assert (learned / "confusion_matrix.png").stat().st_size > 5000


def test_the_cards_of_encoders_say_how_good_they_are_and_their_code_runs(
    learned: Path, pretrained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = (learned / "best" / "README.md").read_text()
    for split in ("val", "test"):
        found = json.loads((learned / f"{split}_metrics.json").read_text())
        assert card.count(f"| accuracy on the {split} split | {found['accuracy']:.4f} |") == 1
        assert f"| macro F1 on the {split} split | {found['f1_macro']:.4f} |" in card
    assert front_matter(card)["pipeline_tag"] == "text-classification"
    assert front_matter((pretrained / "README.md").read_text())["pipeline_tag"] == "fill-mask"
    run_code(learned / "best")
    said = capsys.readouterr().out
    assert any(name in said for name in NAMES), said
    run_code(pretrained)
    assert "sequence" in capsys.readouterr().out


def test_a_finished_run_that_is_started_again_completes_what_is_missing(learned: Path, labelled_dataset: Path) -> None:
    from tests.training.conftest import Command
    from tests.training.finetuning.conftest import RUN, TINY_ENCODER

    base = [*TINY_ENCODER, *RUN, "--train_data_path", str(labelled_dataset), "--task", "classify"]
    command = Command(learned.parents[2], base)
    before = {path: path.read_bytes() for path in learned.glob("*_metrics.json")}
    (learned / "test_metrics.json").unlink()
    config = learned / "best" / "config.json"
    text = config.read_text()
    without = json.loads(text)
    del without["mateconv"]["temperature"]
    config.write_text(json.dumps(without))
    flags = (
        "--max_steps",
        "90",
        "--eval_interval",
        "15",
        "--learning_rate",
        "0.005",
        "--truncation",
        "head_tail",
        "--resume",
    )
    good(command.call(*flags))
    assert {path: path.read_bytes() for path in learned.glob("*_metrics.json")} == before
    assert config.read_text() == text
    changed = {path: path.stat().st_mtime_ns for path in learned.iterdir()}
    good(command.call(*LONG, "--resume"))
    assert {path: path.stat().st_mtime_ns for path in learned.iterdir() if path.suffix in (".json", ".png")} == {
        path: time for path, time in changed.items() if path.suffix in (".json", ".png")
    }


def weights(command: Any, out: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(command.directory / out / "ckpt.pth")["model"]
    return found


def test_a_stopped_run_goes_on_bit_for_bit(classify: Any) -> None:
    """Across the border of an epoch, with chance in it, layers that learn at their own rate and some that do not."""
    flags = ("--dropout", "0.1", "--layer_lr_decay", "0.7", "--freeze_layers", "1", "--lr_scheduler", "constant")
    good(classify.call(*flags, "--out_dir", "whole", "--max_steps", "23"))
    good(classify.call(*flags, "--out_dir", "parts", "--max_steps", "11"))
    good(classify.call(*flags, "--out_dir", "parts", "--max_steps", "23", "--resume", "--preflight", "true"))
    whole, parts = weights(classify, "whole"), weights(classify, "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    rows = [{row["step"]: row for row in classify.rows(out)} for out in ("whole", "parts")]
    assert all(rows[0][step]["loss"] == rows[1][step]["loss"] for step in range(1, 24))


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_for_bit(classify: Any) -> None:
    flags = ("--dropout", "0.1", "--save_interval", "3", "--out_dir")
    good(classify.call(*flags, "whole", "--max_steps", "14"))
    for hit in (2, 5, 4):
        done = classify.run(
            *flags, "killed", "--max_steps", "14", "--resume", MATECONV_FAILPOINT=f"training.step:{hit}"
        )
        assert done.returncode == -9
    good(classify.run(*flags, "killed", "--max_steps", "14", "--resume"))
    whole, killed = weights(classify, "whole"), weights(classify, "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    for name in ("val_metrics.json", "test_metrics.json", "best/config.json", "best/model.safetensors"):
        assert (classify.directory / "whole" / name).read_bytes() == (classify.directory / "killed" / name).read_bytes()


def test_frozen_weights_stay_and_the_rest_moves(classify: Any) -> None:
    good(classify.call("--max_steps", "1", "--out_dir", "one", "--freeze_layers", "1", "--learning_rate", "1e-30"))
    good(classify.call("--max_steps", "6", "--out_dir", "six", "--freeze_layers", "1"))
    first, last = weights(classify, "one"), weights(classify, "six")
    for name, tensor in first.items():
        frozen = "embeddings" in name or ".layer.0." in name
        assert torch.equal(tensor, last[name]) == frozen, name


def test_data_without_classes_are_refused_by_name(classify: Any, make_labelled: Any, tmp_path: Path) -> None:
    alone = make_labelled(tmp_path / "alone", {"train": 9}, ["only"])
    done = classify.call("--train_data_path", str(alone))
    assert done.returncode == 2 and "all documents have the label 'only'" in done.stderr
    bare = make_labelled(tmp_path / "bare", {"train": 1}, ["no", "yes"])
    done = classify.call("--train_data_path", str(bare))
    assert done.returncode == 2 and "no document has a label" in done.stderr
    decoder = classify.call("--architecture", "llama", "--num_key_value_heads", "1")
    assert decoder.returncode == 2 and "llama" in decoder.stderr


def test_without_validation_and_test_the_model_is_there_all_the_same(
    classify: Any, make_labelled: Any, tmp_path: Path
) -> None:
    alone = make_labelled(tmp_path / "alone", {"train": 9}, ["no", "yes"])
    done = good(classify.call("--train_data_path", str(alone), "--max_steps", "2"))
    place = classify.directory / "out/finetune/alone"
    assert (place / "best" / "model.safetensors").is_file() and not list(place.glob("*_metrics.json"))
    assert "no labelled test split" in done.stdout
