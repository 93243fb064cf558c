"""The launch helper: its scripts are sound bash, and what they give to torchrun and train.py is understood there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

import train
from foundation.config import load_config
from foundation.errors import UserError
from model.architectures import ENCODERS, settled
from model.config import ModelConfig
from training.config import DataConfig, LoggingConfig, TrainFlags, TrainingConfig, combination_problems
from training.launch import main
from training.launching.recipes import recipes
from training.settings.of_tasks import check_flags

ROOT = Path(__file__).resolve().parents[2]


def shown(name: str, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["show", name, *more]) == 0
    return capsys.readouterr().out


def run_with_fakes(text: str, tmp_path: Path, *more: str, **environment: str) -> list[list[str]]:
    """Run a script with stand-ins for torchrun, srun and scontrol; gives the words torchrun was called with.

    The stand-in for srun leaves its own options in the file `srun-options`.
    """
    fakes = {
        "torchrun": 'for word in torchrun "$@"; do printf "%s\\n" "$word"; done',
        "srun": f'while [[ "$1" == --* ]]; do echo "$1" >>"{tmp_path}/srun-options"; shift; done; exec "$@"',
        "scontrol": "echo node-a; echo node-b",
    }
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "script.sh").write_text(text)
    done = subprocess.run(
        ["bash", str(tmp_path / "script.sh"), *more],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [done.stdout.splitlines()]


@pytest.mark.parametrize("name", sorted(recipes()))
def test_what_a_script_runs_is_understood_by_torchrun_and_train(name: str, tmp_path: Path, capsys: Any) -> None:
    from torch.distributed.run import parse_args

    text = shown(name, capsys, "--train_data_path", "data set", "--out_dir", "out/x")
    ((program, *words),) = run_with_fakes(
        text,
        tmp_path,
        "--seed",
        "5",
        HEAD="host",
        SLURM_JOB_NODELIST="n[1-2]",
        SLURM_JOB_ID="7",
        SLURM_CPUS_PER_TASK="3",
    )
    assert program == "torchrun"
    parsed = parse_args(words)
    recipe = recipes()[name]
    assert str(parsed.nproc_per_node) == str(recipe.machines.gpus)
    assert str(parsed.nnodes) == (str(recipe.machines.nodes) if not parsed.standalone else "1:1")
    assert parsed.training_script == "train.py"
    if recipe.machines.nodes > 1:
        assert parsed.rdzv_endpoint == ("node-a:29500" if recipe.slurm else "host:29500")

    loaded = load_config("train.py", "", train.SECTIONS, TrainFlags, parsed.training_script_args)
    training, data = loaded.get(TrainingConfig), loaded.get(DataConfig)
    assert "data set" in str(data.train_data_path) and training.out_dir == Path("out/x") and training.seed == 5
    assert training.batch_size is None and (training.global_batch_size or 0) % (8 * 4) == 0
    positions = max(data.max_seq_len, 1024)
    sections = (data, training, loaded.get(LoggingConfig), loaded.get(TrainFlags))
    assert not combination_problems(*sections, positions)


def test_a_slurm_script_asks_for_the_machines_it_uses(tmp_path: Path, capsys: Any) -> None:
    text = shown("slurm-4x8gpu-quality", capsys)
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.M))
    assert options["nodes"] == "4" and options["gpus-per-node"] == "8" and options["ntasks-per-node"] == "1"
    assert text.startswith("#!/usr/bin/env bash\n#SBATCH")  # sbatch reads its options before the first command
    cpus = options["cpus-per-task"]
    assert int(cpus) == 32
    run_with_fakes(text, tmp_path, SLURM_JOB_NODELIST="n[1-4]", SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK=cpus)
    step = (tmp_path / "srun-options").read_text().splitlines()
    assert sorted(step) == ["--cpus-per-task=32", "--kill-on-bad-exit=1"]  # srun does not inherit the former


def test_a_script_without_the_first_machine_named_says_so(tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_with_fakes(shown("2x8gpu-fast", capsys), tmp_path)
    assert "set HEAD" in failed.value.stderr


def test_list_names_every_script_and_write_makes_it_once(tmp_path: Path, capsys: Any) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    for name in ("1gpu-fast", "2gpu-standard", "4gpu-quality", "8gpu-fast", "2x8gpu-standard", "slurm-8gpu-quality"):
        assert re.search(rf"^  {name} ", listed, re.M)
    path = tmp_path / "go.sh"
    assert main(["write", "4gpu-fast", "--output", str(path)]) == 0
    assert "start it with bash" in capsys.readouterr().out
    assert os.access(path, os.X_OK) and path.read_text() == shown("4gpu-fast", capsys)
    assert main(["write", "4gpu-fast", "--output", str(path)]) == 0  # the same again
    with pytest.raises(UserError, match="--overwrite"):
        main(["write", "8gpu-fast", "--output", str(path)])
    assert main(["write", "8gpu-fast", "--output", str(path), "--overwrite"]) == 0
    assert "--nproc_per_node 8" in path.read_text()
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


@pytest.mark.parametrize(("words", "expected"), [(["show"], "NAME"), (["show", "8gpu-fst"], "8gpu-fast")])
def test_mistakes_name_the_way(words: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        main(words)


def test_quoted_paths_survive_the_shell(tmp_path: Path, capsys: Any) -> None:
    ((_, *words),) = run_with_fakes(shown("1gpu-fast", capsys, "--train_data_path", "a b'c"), tmp_path)
    assert "a b'c" in words and shlex.join(words)


@pytest.mark.parametrize("flag", ["--train_data_path", "--train-data-path=", "--data_path", "--data-path"])
def test_another_dataset_behind_the_script_takes_the_place_of_its_own(flag: str, tmp_path: Path, capsys: Any) -> None:
    """A second --train_data_path would be mixed with the first."""
    given = [f"{flag}mine"] if flag.endswith("=") else [flag, "mine"]
    text = shown("1gpu-fast", capsys)
    ((_, *words),) = run_with_fakes(text, tmp_path, *given, "--seed", "5")
    loaded = load_config("train.py", "", train.SECTIONS, TrainFlags, words[words.index("train.py") + 1 :])
    assert loaded.get(DataConfig).train_data_path == ("mine",) and loaded.get(TrainingConfig).seed == 5
    ((_, *words),) = run_with_fakes(text, tmp_path, "--seed", "5")
    loaded = load_config("train.py", "", train.SECTIONS, TrainFlags, words[words.index("train.py") + 1 :])
    assert loaded.get(DataConfig).train_data_path == ("dataset/demo",)


@pytest.mark.parametrize("variant", ["fast", "standard", "quality"])
def test_which_scripts_train_encoders_is_told(variant: str) -> None:
    """docs/guides/several-gpus.md says which take `--task mlm` behind their name, and which do not."""
    flags = [word for name, value in recipes()[f"8gpu-{variant}"].variant.flags for word in (f"--{name}", value)]
    loaded = load_config("train.py", "", train.SECTIONS, TrainFlags, [*flags, "--config", os.devnull])
    guide = (ROOT / "docs" / "guides" / "several-gpus.md").read_text().partition("## Ready scripts")[2]
    takes, refuses = guide.split("The `quality` ones don't")
    assert f"`{variant}`" in takes or variant == "quality"
    if variant == "quality":
        with pytest.raises(UserError, match="--packing is for causal"):
            check_flags("mlm", loaded.by_flag)
        assert "`--packing best_fit`" in refuses
        return
    check_flags("mlm", loaded.by_flag)
    config = loaded.get(ModelConfig)
    assert settled(config, ENCODERS, loaded.by_flag).architecture == "bert"
