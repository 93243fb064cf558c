"""What pretraining is worth to a classifier: the same model fine-tuned from its weights and from random ones, over
several seeds, beside TF-IDF with logistic regression.

    python -m benchmarks.finetune_imdb --dataset dataset/imdb --pretrained out/imdb/best --directory results
    python -m benchmarks.finetune_imdb --dataset dataset/imdb --pretrained out/imdb/best --directory results \\
        --texts train.jsonl.gz test.jsonl.gz --seeds 0,1,2 -- --epochs 3 --learning_rate 3e-4 --layer_lr_decay 0.9

`--dataset` is one that the pipeline made, with labels and a test split; `--texts` are the same documents as JSONL
(`text`, `label`; gzip or plain), from which scikit-learn learns and on which it is judged. What stands behind `--`
goes to train.py, for both ways of starting alike; the model's shape is the pretrained one's. Each run lies in
DIRECTORY/pretrained/seed_N or DIRECTORY/random/seed_N; a stopped benchmark goes on where it was. The table is
accuracy on the test split, by the weights that did best on the validation split.
"""

from __future__ import annotations

import argparse
import gzip
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from foundation import atomic, cli
from foundation.errors import UserError
from model.directory import load_model_directory
from training.finetuning.repeats import SUMMARY

SKLEARN = "tfidf.json"
DROPOUT = {"dropout": 0.1}
NGRAMS = {"words": (1, 1), "words and pairs of words": (1, 2)}


def main(argv: list[str]) -> int:
    """The command."""
    own, _, passed_on = _split(argv)
    options = _parser().parse_args(own)
    directory: Path = options.directory
    directory.mkdir(parents=True, exist_ok=True)
    shape = write_shape(options.pretrained, directory / "model.yaml")
    flags = ["--task", "classify", "--train_data_path", str(options.dataset), "--config", str(shape), "--resume"]
    flags += ["--seeds", options.seeds, *passed_on]
    starts = {"pretrained": ["--init_from", str(options.pretrained)], "random": []}
    for name, more in starts.items():
        if name in options.starts:
            fine_tune([*flags, *more, "--out_dir", str(directory / name)])
    if options.texts:
        learned, held = options.texts
        compare_with_sklearn(learned, held, directory / SKLEARN)
    print(table(directory))
    return 0


def _split(argv: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The arguments before and behind `--`."""
    if "--" not in argv:
        return list(argv), "", []
    place = list(argv).index("--")
    return list(argv[:place]), "--", list(argv[place + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune_imdb", description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", type=Path, required=True, help="labelled dataset with a test split")
    parser.add_argument("--pretrained", type=Path, required=True, help="model directory to start from")
    parser.add_argument("--directory", type=Path, required=True, help="where the runs and results go")
    parser.add_argument("--seeds", default="0,1,2", help="seeds of the runs (default: 0,1,2)")
    parser.add_argument("--starts", nargs="+", default=["pretrained", "random"], choices=["pretrained", "random"])
    parser.add_argument("--texts", nargs=2, type=Path, metavar=("TRAIN", "TEST"), help="JSONL files for scikit-learn")
    return parser


def write_shape(pretrained: Path, path: Path) -> Path:
    """A configuration file with the shape of the pretrained model, for the runs from random weights; dropout 0.1 as in
    BERT's fine-tuning."""
    config = load_model_directory(pretrained).config.model_dump(mode="json")
    atomic.write_text(path, yaml.safe_dump({"model": {**config, "preset": None, **DROPOUT}}))
    return path


def fine_tune(flags: Sequence[str]) -> None:
    """Run train.py, which ends with this process. `UserError` when it did not finish."""
    train = Path(__file__).resolve().parents[1] / "train.py"
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # `run` kills what it started, then
    code = subprocess.run([sys.executable, str(train), *flags], check=False).returncode
    if code:
        raise UserError(f"train.py ended with {code}; run the benchmark again to go on where it stopped")


def read_texts(path: Path) -> tuple[list[str], list[int]]:
    """The texts of a JSONL file and their labels."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    records = [json.loads(line) for line in content.splitlines()]
    return [record["text"] for record in records], [int(record["label"]) for record in records]


def compare_with_sklearn(train: Path, test: Path, path: Path) -> None:
    """TF-IDF and logistic regression on the same documents; results go to `path`, and are not made twice."""
    if path.exists():
        return
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts, labels = read_texts(train)
    held_texts, held_labels = read_texts(test)
    found: dict[str, dict[str, float]] = {}
    for name, ngrams in NGRAMS.items():
        began = time.process_time()
        features = TfidfVectorizer(ngram_range=ngrams, min_df=2, sublinear_tf=True)
        model = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
        model.fit(texts, labels)
        accuracy = float(model.score(held_texts, held_labels))
        found[name] = {"accuracy": accuracy, "cpu_seconds": time.process_time() - began}
    atomic.write_text(path, json.dumps(found, indent=1) + "\n")


def table(directory: Path) -> str:
    """Everything that is there, as Markdown."""
    lines = ["| start | test accuracy | spread over seeds | runs |", "|---|---|---|---|"]
    means: dict[str, float] = {}
    for name in ("pretrained", "random"):
        file = directory / name / SUMMARY
        if not file.is_file():
            continue
        known = json.loads(file.read_bytes())
        means[name] = known["mean"]["test_accuracy"]
        runs = " ".join(f"{100 * run['test_accuracy']:.2f}" for run in known["runs"].values())
        spread = known["std"]["test_accuracy"]
        words = "–" if spread is None else f"{100 * spread:.2f}"
        lines.append(f"| {name} weights | {100 * means[name]:.2f}% | {words} | {runs} |")
    if (directory / SKLEARN).is_file():
        for name, facts in json.loads((directory / SKLEARN).read_bytes()).items():
            lines.append(f"| TF-IDF ({name}), logistic regression | {100 * facts['accuracy']:.2f}% | | |")
    if len(means) == 2:
        lines.append(f"\npretraining adds {100 * (means['pretrained'] - means['random']):.2f} points")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
