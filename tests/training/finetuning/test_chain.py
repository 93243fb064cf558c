"""Several seeds and several stages as one command."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from foundation.config import load_config
from foundation.section import Section
from model.config import ModelConfig
from model.presets import PRESETS
from tests.training.conftest import Command
from tests.training.finetuning.conftest import RUN, TINY_ENCODER, good
from training.config import TrainFlags, TrainingConfig
from training.finetuning.repeats import summarise
from training.saving import checkpoint

STAGES = {
    "pretrain": {"task": "mlm", "max_steps": 5},
    "finetune": {"training": {"task": "classify", "max_steps": 4}, "model": {"classifier_dropout": 0.1}},
}


@pytest.fixture
def chain(tmp_path: Path, labelled_dataset: Path) -> Command:
    """`train.py --config stages.yaml`, the stages above."""
    (tmp_path / "stages.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    run = [word for pair in zip(RUN[::2], RUN[1::2], strict=True) if pair[0] != "--max_steps" for word in pair]
    return Command(tmp_path, [*run, "--train_data_path", str(labelled_dataset), "--config", "stages.yaml"])


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(path / "ckpt.pth")["model"]
    return found


def test_each_seed_is_a_run_of_its_own_and_the_summary_has_their_spread(tuned: Command) -> None:
    done = good(tuned.call("--max_steps", "4", "--seeds", "0,7", "--out_dir", "many"))
    good(tuned.call("--max_steps", "4", "--seed", "7", "--out_dir", "alone"))
    many, alone = tuned.directory / "many", tuned.directory / "alone"
    assert all(torch.equal(tensor, weights(alone)[name]) for name, tensor in weights(many / "seed_7").items())
    assert not torch.equal(*(weights(many / run)["classifier.weight"] for run in ("seed_0", "seed_7")))
    found = json.loads((many / "summary.json").read_text())
    tests = [json.loads((many / run / "test_metrics.json").read_text()) for run in ("seed_0", "seed_7")]
    for key in ("accuracy", "f1_weighted", "f1_macro", "loss_calibrated"):
        values = [facts[key] for facts in tests]
        assert found["mean"][f"test_{key}"] == pytest.approx(statistics.mean(values))
        assert found["std"][f"test_{key}"] == pytest.approx(statistics.stdev(values))
        assert (found["min"][f"test_{key}"], found["max"][f"test_{key}"]) == (min(values), max(values))
    errors = [found["runs"][run]["val_error"] for run in ("seed_0", "seed_7")]
    assert found["best_run"] == ("seed_0" if errors[0] <= errors[1] else "seed_7")
    assert "2 seeds: test_accuracy" in done.stdout
    again = tuned.call("--max_steps", "4", "--seeds", "0", "7", "--out_dir", "many")
    assert again.returncode == 2 and "--resume" in again.stderr
    before = (many / "summary.json").read_bytes()
    more = good(tuned.call("--max_steps", "4", "--seeds", "0", "7", "3", "--out_dir", "many", "--resume"))
    assert more.stdout.count("starting from") == 1 and (many / "seed_3" / "best").is_dir()
    assert len(json.loads((many / "summary.json").read_text())["runs"]) == 3 and before


def test_a_single_run_has_no_spread(tmp_path: Path) -> None:
    row = {"step": 1, "val_loss": 2.0, "val_error": 0.5, "loss": 3.0}
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "config.json").write_text('{"mateconv": {"step": 1}}')
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, "step": 2}) + "\n")
    found = summarise({5: tmp_path})
    assert found["mean"] == {"val_loss": 2.0, "val_error": 0.5} and found["std"] == {
        "val_loss": None,
        "val_error": None,
    }


def test_a_stage_starts_from_the_best_model_of_the_one_before(chain: Command) -> None:
    done = good(chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune"))
    assert "starting from out/pretrain/best" in done.stdout
    content = checkpoint.load(chain.directory / "out" / "finetune" / "ckpt.pth")
    assert (content["step"], content["model_config"]["classifier_dropout"]) == (4, 0.1)
    assert checkpoint.load(chain.directory / "out" / "pretrain" / "ckpt.pth")["step"] == 5
    assert content["config"]["training"]["init_from"] == "out/pretrain/best"


def test_a_stopped_chain_goes_on_where_it_was(chain: Command) -> None:
    good(chain.call(*TINY_ENCODER, "--chain", "pretrain", "finetune", "--out_dir", "whole"))
    good(chain.call(*TINY_ENCODER, "--chain", "pretrain", "--out_dir", "parts"))
    refused = chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune", "--out_dir", "parts")
    assert refused.returncode == 2 and "--resume" in refused.stderr
    done = good(chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune", "--out_dir", "parts", "--resume"))
    assert "parts/pretrain: this run is finished" in done.stdout
    whole, parts = (weights(chain.directory / out / "finetune") for out in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    good(chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune", "--out_dir", "parts", "--resume"))


def test_a_stage_may_say_otherwise(chain: Command, pretrained: Path) -> None:
    own = {**STAGES, "finetune": {"task": "classify", "max_steps": 2, "init_from": str(pretrained), "out_dir": "there"}}
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": own}))
    done = good(chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune"))
    assert f"starting from {pretrained}" in done.stdout and (chain.directory / "there" / "ckpt.pth").is_file()
    own["finetune"]["out_dir"] = "out/pretrain"
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": own}))
    both = chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune", "--overwrite")
    assert both.returncode == 2 and "both lie in out/pretrain" in both.stderr


def test_the_best_of_several_seeds_is_handed_on(chain: Command) -> None:
    several = {"pretrain": {"task": "mlm", "max_steps": 2, "seeds": [0, 5]}, "finetune": STAGES["finetune"]}
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": several}))
    done = good(chain.call(*TINY_ENCODER, "--chain", "pretrain,finetune"))
    best = json.loads((chain.directory / "out/pretrain/summary.json").read_text())["best_run"]
    assert f"starting from out/pretrain/{best}/best" in done.stdout


@pytest.mark.parametrize(
    "stages,names,message",
    [
        (STAGES, "pretrain,tune", "no stage 'tune'; did you mean finetune?"),
        (STAGES, "pretrain,pretrain", "names a stage twice"),
        ({"pretrain": {"tsak": "mlm"}}, "pretrain", "stage 'pretrain': unknown key 'tsak'; did you mean task?"),
        ({"pretrain": {"max_steps": 0}}, "pretrain", "stage 'pretrain': max_steps"),
        ({"pretrain": {"max_steps": 3, "training": {"max_steps": 4}}}, "pretrain", "'max_steps' stands there twice"),
        ({"pretrain": 3}, "pretrain", "must hold settings"),
        ({"one": {"max_steps": 2}, "two": {"min_learning_rate": 1.0}}, "one,two", "min_learning_rate 1 is above"),
        ({"one": {"seeds": [3, 3]}}, "one", "seeds 3 3: give different"),
        ([1], "pretrain", "must hold stages by name"),
    ],
)
def test_mistakes_are_named_before_any_work(chain: Command, stages: Any, names: str, message: str) -> None:
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": stages}))
    done = chain.call("--chain", names)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert not (chain.directory / "out").exists()


def test_stages_that_nobody_asked_for_are_mentioned(chain: Command) -> None:
    done = chain.call(*TINY_ENCODER, "--task", "mlm", "--max_steps", "1")
    assert "stages (pretrain, finetune) are not run; --chain" in good(done).stdout


@pytest.mark.slow
def test_two_processes_go_through_a_chain_as_one_does(chain: Command, launcher: Callable[..., list[str]]) -> None:
    """Each run of the chain finds its processes anew; the numbers are those of one process, up to rounding."""
    several = {
        "pretrain": {"task": "mlm", "max_steps": 2, "seeds": [0, 5]},
        "finetune": {"task": "classify", "max_steps": 4},
    }
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": several}, sort_keys=False))
    flags = (*TINY_ENCODER, "--chain", "pretrain,finetune", "--batch_size")
    good(chain.call(*flags, "4", "--out_dir", "one"))
    good(chain.run(*flags, "2", "--out_dir", "two", "--ddp", launcher=launcher("torchrun", 2)))
    one, two = (weights(chain.directory / out / "finetune") for out in ("one", "two"))
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    verdicts = [(chain.directory / out / "finetune/test_metrics.json").read_text() for out in ("one", "two")]
    matrices = [json.loads(text)["confusion_matrix"] for text in verdicts]
    assert matrices[0] == matrices[1]


def test_overwriting_leaves_nothing_of_the_old_run(tuned: Command) -> None:
    good(tuned.call("--max_steps", "2", "--seeds", "0", "--out_dir", "many"))
    run = tuned.directory / "many" / "seed_0"
    assert {"val_metrics.json", "test_metrics.json", "confusion_matrix.png"} <= {path.name for path in run.iterdir()}
    explodes = ("--learning_rate", "1e37", "--weight_decay", "0", "--on_nonfinite", "stop", "--grad_clip", "null")
    stopped = tuned.call("--seeds", "0", "--out_dir", "many", "--overwrite", "--warmup_steps", "0", *explodes)
    assert stopped.returncode == 1, stopped.stderr
    assert not list((tuned.directory / "many").rglob("*_metrics.json")) and not (run / "confusion_matrix.png").exists()
    assert not (tuned.directory / "many" / "summary.json").exists()


def test_flags_win_over_a_stage_in_whatever_words(chain: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {"own": {"warmup_steps": 7, "num_hidden_layers": 3, "dropout": 0.125, "hidden_size": 48}}
    (chain.directory / "stages.yaml").write_text(yaml.safe_dump({"stages": stages, "model": {"preset": "15m"}}))
    monkeypatch.chdir(chain.directory)

    def settled(*flags: str) -> tuple[TrainingConfig, ModelConfig]:
        kinds: dict[str, type[Section]] = {"training": TrainingConfig, "model": ModelConfig}
        loaded = load_config("train.py", "", kinds, TrainFlags, ["--config", "stages.yaml", *flags], stage="own")
        return loaded.get(TrainingConfig), loaded.get(ModelConfig)

    training, model = settled()
    assert (training.warmup_steps, training.warmup_ratio) == (7, None)
    assert (model.num_hidden_layers, model.hidden_size, model.dropout) == (3, 48, 0.125)
    training, model = settled("--warmup_ratio", "0.25", "--preset", "7m", "--num_attention_heads", "4")
    assert (training.warmup_steps, training.warmup_ratio) == (None, 0.25)
    shape = {**PRESETS["7m"], "num_attention_heads": 4}
    assert {key: getattr(model, key) for key in shape} == shape and model.dropout == 0.125
