"""One case for each flag of the section `training` that decides what is computed: what it changes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from model.decoder import Block
from tests.training.flags.trying import Trier, same_weights

LONG = ("--max_steps", "8", "--learning_rate", "0.01", "--min_learning_rate", "0.001")


def rates(run: Trier, *flags: str) -> list[float]:
    """The learning rates of eight steps, one of them warming up."""
    return [rate / 0.01 for rate in run.good(*LONG, *flags).column("lr")]


def max_steps(run: Trier) -> None:
    assert run.good("--max_steps", "2").column("step") == [1, 2]


def epochs(run: Trier) -> None:
    tried = run.good("--max_steps", "null", "--epochs", "0.1", "--batch_size", "5")
    samples = (run.base.content["tokens"], tried.content["sample"])
    from shards.dataset import Dataset

    per_epoch = (Dataset.open(run.command.base[-1]).tokens - 1) // 17
    assert tried.content["sample"] == 5 * math.ceil(math.ceil(0.1 * per_epoch) / 5), samples


def max_tokens(run: Trier) -> None:
    assert run.good("--max_steps", "null", "--max_tokens", "100").column("tokens") == [51, 102]


def time_budget(run: Trier) -> None:
    tried = run.good("--max_steps", "null", "--time_budget", "0.2s", "--log_interval", "1")
    assert tried.content["state"]["elapsed"] >= 0.2
    assert "0 s" in tried.out


def batch_size(run: Trier) -> None:
    assert run.good("--batch_size", "5").column("tokens") == [85, 170, 255]


def accumulation_steps(run: Trier) -> None:
    tried = run.good("--accumulation_steps", "2")
    assert tried.column("tokens") == [102, 204, 306] and tried.content["global_batch"] == 6


def global_batch_size(run: Trier) -> None:
    tried = run.good("--global_batch_size", "9")
    assert tried.column("tokens") == [153, 306, 459] and tried.content["global_batch"] == 9


def optimizer(run: Trier) -> None:
    assert set(run.good("--optimizer", "adam").content["optimizer"]) == {"adam"}
    muon = run.good("--optimizer", "muon")
    assert set(muon.content["optimizer"]) == {"adamw", "muon"} and not same_weights(muon, run.base)


def learning_rate(run: Trier) -> None:
    assert run.good("--learning_rate", "0.02").column("lr")[0] == pytest.approx(0.02)
    assert run.base.column("lr")[0] == pytest.approx(0.01)


def min_learning_rate(run: Trier) -> None:
    assert run.good("--min_learning_rate", "0.004").column("lr")[-1] == pytest.approx(0.004)
    assert run.base.column("lr")[-1] == pytest.approx(0.001)


def warmup_steps(run: Trier) -> None:
    tried = run.good("--warmup_steps", "2", "--max_steps", "4").column("lr")
    assert tried[:2] == pytest.approx([0.005, 0.01])


def warmup_ratio(run: Trier) -> None:
    """A share of the steps; in place of warmup_steps, and never beside them."""
    whole = ("--max_steps", "8", "--warmup_steps")
    share = run.good(*whole, "null", "--warmup_ratio", "0.5").column("lr")
    assert share == run.good(*whole, "4").column("lr") and share[:4] == pytest.approx([0.0025, 0.005, 0.0075, 0.01])
    refused = run(*whole, "4", "--warmup_ratio", "0.5")
    assert refused.code == 2 and "warmup_steps 4 and warmup_ratio 0.5" in refused.err


def lr_scheduler(run: Trier) -> None:
    """Step 5 of 8, one of them warming up, is 3/6 of the way: each schedule has a value of its own there."""
    expected = {
        "constant": 1.0,
        "linear": 0.1 + 0.9 * 0.5,
        "polynomial": 0.1 + 0.9 * 0.25,
        "cosine": 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)),
        "wsd": 1.0,
    }
    last = {"constant": 1.0}
    for name, value in expected.items():
        found = rates(run, "--lr_scheduler", name)
        assert found[4] == pytest.approx(value, rel=1e-6), name
        assert found[-1] == pytest.approx(last.get(name, 0.1)), name


def lr_power(run: Trier) -> None:
    assert rates(run, "--lr_scheduler", "polynomial", "--lr_power", "3")[4] == pytest.approx(0.1 + 0.9 * 0.125)


def decay_fraction(run: Trier) -> None:
    """Of the seven steps after the warmup, a larger share falls."""
    few, many = (rates(run, "--lr_scheduler", "wsd", "--decay_fraction", share) for share in ("0.3", "0.9"))
    assert few[4] == pytest.approx(1.0) and many[4] < 0.9


def decay_shape(run: Trier) -> None:
    flags = ("--lr_scheduler", "wsd", "--decay_fraction", "1", "--decay_shape")
    assert rates(run, *flags, "linear")[4] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates(run, *flags, "sqrt")[4] == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(0.5)))


def betas(run: Trier) -> None:
    tried = run.good("--betas", "0.5", "0.6")
    assert all(tuple(group["betas"]) == (0.5, 0.6) for group in tried.groups)
    assert not same_weights(tried, run.base)


def muon_momentum(run: Trier) -> None:
    one, other = (run.good("--optimizer", "muon", "--muon_momentum", value) for value in ("0.95", "0.5"))
    assert not same_weights(one, other)


def weight_decay(run: Trier) -> None:
    tried = run.good("--weight_decay", "0.7")
    assert {group["weight_decay"] for group in tried.groups} == {0.0, 0.7}
    assert not same_weights(tried, run.base)


def grad_clip(run: Trier) -> None:
    tried = run.good("--grad_clip", "1e-8")
    assert tried.column("grad_norm")[0] == run.base.column("grad_norm")[0]  # the norm before
    assert not same_weights(tried, run.base)


def use_ema(run: Trier) -> None:
    tried = run.good("--use_ema")
    assert len(tried.column("val_loss_ema")) == 1 and not run.base.column("val_loss_ema")
    assert tried.column("val_loss") == run.base.column("val_loss")


def ema_decay(run: Trier) -> None:
    slow, none = (run.good("--use_ema", "--ema_decay", decay).rows[-1] for decay in ("0.999", "0"))
    assert none["val_loss_ema"] == pytest.approx(none["val_loss"])
    assert abs(slow["val_loss_ema"] - slow["val_loss"]) > 10 * abs(none["val_loss_ema"] - none["val_loss"])


def seed(run: Trier) -> None:
    assert run.good("--seed", "5").column("loss") != run.base.column("loss")


def dtype(run: Trier) -> None:
    tried = run.good("--dtype", "bfloat16")
    assert "in bfloat16" in tried.out and "in float32" in run.base.out
    assert tried.column("loss") != run.base.column("loss")
    assert tried.column("loss") == pytest.approx(run.base.column("loss"), rel=0.02)


def device(run: Trier) -> None:
    assert "on cpu" in run.base.out
    refused = run("--device", "cuda:77")
    assert refused.code == 2 and "cuda:77" in refused.err


def compile_flag(run: Trier) -> None:
    seen: list[Any] = []

    def imitation(module: Any, **options: Any) -> Any:
        seen.append(module)
        return module

    run.monkeypatch.setattr("torch.compile", imitation)
    run.good("--compile", "false")
    assert not seen
    run.monkeypatch.setattr("training.devices.compilation._missing", lambda device: None)
    run.monkeypatch.setattr("training.devices.compilation.LONG_RUN", 0.0)
    assert "what --compile true takes" in run.good("--compile", "auto", "--preflight", "true").out
    assert not seen
    assert "what --compile true takes" not in run.good("--compile", "true", "--preflight", "true").out
    assert seen


def tf32(run: Trier) -> None:
    """A CPU has no TF32: what is told to torch on a GPU."""
    told: list[bool] = []
    run.monkeypatch.setattr("training.preparation.set_tf32", lambda allowed, device: told.append(allowed))
    run.good()
    run.good("--tf32", "false")
    assert told == [True, False]


def activation_checkpointing(run: Trier) -> None:
    """Every block is run twice a step, and computes the same."""
    calls: list[bool] = []
    forward = Block.forward

    def counting(self: Any, *inputs: Any) -> Any:
        calls.append(self.training)
        return forward(self, *inputs)

    run.monkeypatch.setattr(Block, "forward", counting)
    plain = run.good("--preflight", "false")
    once = calls.count(True)
    calls.clear()
    tried = run.good("--preflight", "false", "--activation_checkpointing")
    assert calls.count(True) == 2 * once > 0
    assert tried.column("loss") == plain.column("loss")


CASES = {
    **{case.__name__: case for case in (
        max_steps, epochs, max_tokens, time_budget, batch_size, accumulation_steps, global_batch_size, optimizer,
        learning_rate, min_learning_rate, warmup_steps, warmup_ratio, lr_scheduler, lr_power, decay_fraction,
        decay_shape, betas, muon_momentum, weight_decay, grad_clip, use_ema, ema_decay, seed, dtype, device, tf32,
        activation_checkpointing,
    )},
    "compile": compile_flag,
}  # fmt: skip
