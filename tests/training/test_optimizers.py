"""Each optimizer against torch's own rule applied by hand, and which weights it moves how."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.decoder import Decoder
from training.config import TrainingConfig
from training.devices.precision import Precision
from training.optimization.optimizer import build_optimizers, hidden_matrices, set_hyperparameters
from training.saving import checkpoint

from .conftest import Command

CPU = torch.device("cpu")
TINY = ModelConfig(
    hidden_size=12, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, intermediate_size=20
)
STEPS = 7


def settings(**values: object) -> TrainingConfig:
    return TrainingConfig(**{"learning_rate": 0.03, "weight_decay": 0.2, "betas": (0.8, 0.97), **values})


def decoder(tied: bool = False) -> Decoder:
    torch.manual_seed(11)
    return Decoder(TINY.model_copy(update={"tie_word_embeddings": tied}), 29)


def gradients(model: nn.Module, step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=generator) * (1 + step) for p in model.parameters()]


def trained(model: nn.Module, config: TrainingConfig) -> nn.Module:
    """After STEPS steps with made-up gradients and a learning rate that changes."""
    optimizers = build_optimizers(model, config, CPU)
    for step in range(STEPS):
        for parameter, gradient in zip(model.parameters(), gradients(model, step), strict=True):
            parameter.grad = gradient
        optimizers.set_learning_rate(0.03 / (1 + step))
        optimizers.step(Precision(CPU, torch.float32).scaler)
    return model


def orthogonal_steps(weight: Tensor, grads: list[Tensor], momentum: float) -> Tensor:
    """Muon by torch itself, over one matrix alone: the rule our optimizer must apply to each."""
    alone = nn.Parameter(weight.clone())
    muon = torch.optim.Muon([alone], lr=1.0, momentum=momentum, weight_decay=0.2, adjust_lr_fn="match_rms_adamw")
    for step, gradient in enumerate(grads):
        muon.param_groups[0]["lr"] = 0.03 / (1 + step)
        alone.grad = gradient.clone()
        muon.step()
    return alone.detach()


def adaptive_steps(weight: Tensor, grads: list[Tensor], coupled: bool) -> Tensor:
    """Adam or AdamW from the papers' formulas, in float64."""
    theta, first, second = weight.double(), torch.zeros(()).double(), torch.zeros(()).double()
    decay = 0.2 if weight.ndim == 2 else 0.0
    for step, gradient in enumerate(grads):
        rate, g = 0.03 / (1 + step), gradient.double()
        if coupled:
            g = g + decay * theta
        first, second = 0.8 * first + 0.2 * g, 0.97 * second + 0.03 * g * g
        unbiased = first / (1 - 0.8 ** (step + 1)), second / (1 - 0.97 ** (step + 1))
        shrunk = theta if coupled else theta * (1 - rate * decay)
        theta = shrunk - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    return theta.float()


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_adam_and_adamw_follow_their_papers(kind: str) -> None:
    before = decoder()
    after = trained(copy.deepcopy(before), settings(optimizer=kind))
    all_gradients = [gradients(before, step) for step in range(STEPS)]
    for number, (old, new) in enumerate(zip(before.parameters(), after.parameters(), strict=True)):
        expected = adaptive_steps(old.detach(), [grads[number] for grads in all_gradients], kind == "adam")
        torch.testing.assert_close(new.detach(), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("momentum", [0.95, 0.5])
@pytest.mark.parametrize("tied", [False, True])
def test_muon_moves_the_matrices_of_the_blocks_as_torchs_own_and_adamw_the_rest(momentum: float, tied: bool) -> None:
    before = decoder(tied)
    after = trained(copy.deepcopy(before), settings(optimizer="muon", muon_momentum=momentum))
    all_gradients = [gradients(before, step) for step in range(STEPS)]
    by_muon = set()
    for number, ((name, old), new) in enumerate(zip(before.named_parameters(), after.parameters(), strict=True)):
        grads = [step[number] for step in all_gradients]
        if name.startswith("model.layers.") and old.ndim == 2:
            by_muon.add(name.split(".", 3)[3])
            expected = orthogonal_steps(old.detach(), grads, momentum)
            torch.testing.assert_close(new.detach(), expected, rtol=0, atol=0, msg=name)
        else:
            torch.testing.assert_close(
                new.detach(), adaptive_steps(old.detach(), grads, False), rtol=2e-5, atol=2e-6, msg=name
            )
    assert {"self_attn.q_proj.weight", "self_attn.o_proj.weight", "mlp.down_proj.weight"} <= by_muon
    assert not any("norm" in name for name in by_muon)


def test_muons_step_has_the_size_of_adamws() -> None:
    """match_rms_adamw: the root mean square of a step is 0.1 to 0.4 of the learning rate, whatever the shape."""
    torch.manual_seed(5)
    for shape in ((64, 64), (256, 64), (64, 256)):
        parameter = nn.Parameter(torch.zeros(shape))
        muon = torch.optim.Muon([parameter], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        parameter.grad = torch.randn(shape)
        muon.step()
        assert 0.1 < parameter.detach().square().mean().sqrt() < 0.4


@pytest.mark.parametrize("kind", ["adamw", "adam", "muon"])
def test_only_matrices_decay_and_every_parameter_has_one_place(kind: str) -> None:
    model = decoder()
    optimizers = build_optimizers(model, settings(optimizer=kind), CPU)
    decay = [(id(p), group["weight_decay"]) for group in optimizers.groups() for p in group["params"]]
    assert sorted(decay) == sorted((id(p), 0.2 if p.ndim == 2 else 0.0) for p in model.parameters())
    assert len(hidden_matrices(model)) == TINY.num_hidden_layers * 7


def test_a_loaded_state_takes_the_settings_of_now() -> None:
    saved = build_optimizers(decoder(), settings(optimizer="muon"), CPU).state_dict()
    now = settings(optimizer="muon", muon_momentum=0.7, betas=(0.5, 0.6), weight_decay=0.01)
    optimizers = build_optimizers(decoder(), now, CPU)
    optimizers.load_state_dict(saved)
    set_hyperparameters(optimizers, now)
    muon, adamw = optimizers.members["muon"], optimizers.members["adamw"]
    assert [group["momentum"] for group in muon.param_groups] == [0.7]
    assert all(group["betas"] == (0.5, 0.6) and group["fused"] for group in adamw.param_groups)
    assert [group["weight_decay"] for group in optimizers.groups()] == [0.01, 0.01, 0.0]


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_a_resumed_run_goes_on_with_the_same_moments(command: Command, kind: str) -> None:
    options = ("--optimizer", kind, "--lr_scheduler", "constant")
    assert command.call("--out_dir", "whole", *options).returncode == 0
    assert command.call("--out_dir", "cut", "--max_steps", "7", *options).returncode == 0
    assert command.call("--out_dir", "cut", "--resume", *options).returncode == 0
    ours, theirs = (checkpoint.load(command.directory / name / "ckpt.pth") for name in ("cut", "whole"))
    assert ours["step"] == 12 and set(ours["optimizer"]) == ({"muon", "adamw"} if kind == "muon" else {"adam"})
    torch.testing.assert_close(ours["model"], theirs["model"], rtol=0, atol=0)
    for name, state in theirs["optimizer"].items():
        torch.testing.assert_close(ours["optimizer"][name]["state"], state["state"], rtol=0, atol=0)


@pytest.mark.gpu
def test_on_a_gpu_muon_and_the_average_give_the_curve_of_the_cpu(command: Command) -> None:
    """Within what rounding does: Muon orthogonalises in bfloat16, on each device in its own order."""
    options = ["--optimizer", "muon", "--use_ema"]
    for name, device in (("cpu", "cpu"), ("gpu", "cuda")):
        done = command.run("--out_dir", name, "--device", device, *options)
        assert done.returncode == 0, done.stderr
    for cpu, gpu in zip(command.rows("cpu"), command.rows("gpu"), strict=True):
        for key in ("loss", "val_loss", "val_loss_ema"):
            assert gpu.get(key) == (pytest.approx(cpu[key], abs=2e-2) if key in cpu else None)
