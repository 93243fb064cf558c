"""The task and its masking: each flag changes what it says, tasks refuse what is not theirs, and a resumed run's
batches are those of one that was never stopped."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import train
from benchmarks import masked_unigram as benchmark
from foundation.config import load_config
from foundation.errors import UserError
from foundation.flags import FlagSet
from shards.dataset import Dataset
from tests.training.flags.trying import Tried, Trier
from training.batching.batches import BatchPlan, BatchStream
from training.batching.datasets import open_data
from training.batching.samples import open_samples
from training.config import DataConfig, TrainFlags, TrainingConfig
from training.settings.of_tasks import READ_BY
from training.tasks.choose import choose_task
from training.tasks.masking import Masking

ENCODER = ["--hidden_size", "16", "--num_hidden_layers", "1", "--num_attention_heads", "2", "--max_seq_len", "17"]
ENCODER += ["--batch_size", "4", "--learning_rate", "0.01", "--log_interval", "1", "--eval_interval", "3"]
ENCODER += ["--device", "cpu", "--dtype", "float32", "--compile", "false", "--sample_tokens", "0"]
BASE: dict[Any, Tried] = {}


@pytest.fixture
def run(command: Any, make_dataset: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Trier:
    """Runs of three steps of a tiny encoder."""
    command.base = [*ENCODER, "--train_data_path", str(dataset), "--task", "mlm"]
    return Trier(command, make_dataset, monkeypatch, BASE)


def masked_in(run: Trier, *flags: str) -> tuple[Tried, list[int]]:
    """A run with `flags`, and how many tokens each of its batches had hidden."""
    seen: list[int] = []
    apply = Masking.apply

    def noting(self: Masking, *inputs: Any) -> Any:
        found = apply(self, *inputs)
        seen.append(found.predicted)
        return found

    run.monkeypatch.setattr(Masking, "apply", noting)
    return run.good(*flags), seen


def test_task(run: Trier) -> None:
    """`--task mlm` trains an encoder with a head for masked tokens; without it there is a decoder."""
    content = run.base.content
    assert content["heads"]["mlm"] and content["model_config"]["architecture"] == "bert"
    assert any(name.startswith("cls.predictions") for name in content["model"])
    causal = run.good("--task", "causal", "--num_key_value_heads", "1").content
    assert causal["heads"] is None and causal["model_config"]["architecture"] == "llama"


def test_mlm_probability(run: Trier) -> None:
    tenth, half = (sum(masked_in(run, "--mlm_probability", share)[1]) for share in ("0.1", "0.5"))
    assert 4 * tenth < half < 6 * tenth


@pytest.mark.parametrize(
    "flags", [("--mask_replace_prob", "0"), ("--random_replace_prob", "0.2"), ("--whole_word_mask", "true")]
)
def test_what_is_seen_in_place_of_tokens(run: Trier, flags: tuple[str, str]) -> None:
    tried = run.good(*flags)
    assert tried.column("loss")[0] != run.base.column("loss")[0]
    assert tried.column("tokens") == run.base.column("tokens")


def test_flags_of_other_tasks_are_refused(run: Trier) -> None:
    refused = run("--packing", "best_fit")
    assert refused.code == 2 and "--packing is for causal; task mlm does not read it" in refused.err
    refused = run("--task", "causal", "--mlm_probability", "0.2")
    assert refused.code == 2 and "--mlm_probability is for mlm and mlm_nsp" in refused.err
    assert set(READ_BY) <= set(FlagSet(train.SECTIONS, TrainFlags).owner)


def settings_of(*flags: str) -> TrainingConfig:
    return load_config("train.py", "", train.SECTIONS, TrainFlags, flags).get(TrainingConfig)


def test_shares_beyond_everything_are_a_problem() -> None:
    (problem,) = settings_of("--mask_replace_prob", "0.7", "--random_replace_prob", "0.31").problems()
    assert "more than 1 together" in problem
    assert not settings_of("--mask_replace_prob", "0.7", "--random_replace_prob", "0.3").problems()


@pytest.mark.parametrize("flag,value", [("--mlm_probability", "0"), ("--mlm_probability", "1"), ("--task", "mln")])
def test_what_makes_no_sense_is_refused(flag: str, value: str) -> None:
    with pytest.raises(UserError, match=flag.lstrip("-")):
        settings_of(flag, value)


@pytest.mark.parametrize("whole", [False, True])
def test_a_resumed_run_has_the_same_masks_however_its_steps_are_split(
    dataset: Path, tmp_path: Path, whole: bool
) -> None:
    """From the middle of an epoch into the next one: by steps of 6, and resumed with 2 ranks of 3 x 1."""
    data_config = DataConfig(train_data_path=(str(dataset),), max_seq_len=17)
    training = TrainingConfig(task="mlm", whole_word_mask=whole, seed=5)

    def tensors(plan: BatchPlan, first: int, steps: int) -> list[dict[str, torch.Tensor]]:
        task = choose_task(open_data(data_config), data_config, training)
        samples = open_samples(task, tmp_path, None)
        with BatchStream(samples, plan, first, steps, task.microbatch, ahead=2, pin=False) as stream:
            return [micro.tensors for step in stream for micro in step]

    samples = open_samples(choose_task(open_data(data_config), data_config, training), tmp_path, None)
    steps = 2 * samples.samples_per_epoch // 6
    whole_run = tensors(BatchPlan(6, 1), 0, steps)
    skipped = steps // 3
    ranks = [tensors(BatchPlan(1, 3, ranks=2, rank=rank), 6 * skipped, steps - skipped) for rank in (0, 1)]
    for step, expected in enumerate(whole_run[skipped:]):
        micros = [ranks[rank][3 * step + micro] for micro in range(3) for rank in (0, 1)]
        inputs = torch.cat([micro["inputs"] for micro in micros])
        targets = torch.cat([micro["mlm_targets"] for micro in micros])
        assert torch.equal(inputs, expected["inputs"]) and torch.equal(targets, expected["mlm_targets"])
    half = steps // 2
    first, second = (
        torch.cat([one["inputs"] for one in part]).numpy() for part in (whole_run[:half], whole_run[half:])
    )
    assert len({row.tobytes() for row in first} & {row.tobytes() for row in second}) < len(first) / 2  # masked anew


def test_the_unigram_benchmark_measures_the_validation_masks(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With nearly everything masked: beside the entropies of the two splits, written out."""
    benchmark.main([str(dataset), "--mlm_probability", "0.999", "--max_seq_len", "64"])
    figures = [float(number) for number in re.findall(r"([\d.]+) nats", capsys.readouterr().out)]
    train_tokens, val_tokens = (
        [int(token) for shard in Dataset.open(dataset, split).shards for token in shard.tokens if token > 6]
        for split in ("train", "val")
    )
    seen = Counter(train_tokens)
    total = sum(seen.values()) + 273  # each of the tokens without a role once more
    under = -sum(math.log((seen[token] + 1) / total) for token in val_tokens) / len(val_tokens)
    own = -sum(count / len(val_tokens) * math.log(count / len(val_tokens)) for count in Counter(val_tokens).values())
    assert figures[0] == pytest.approx(under, abs=0.05) and figures[2] == pytest.approx(own, abs=0.05)
