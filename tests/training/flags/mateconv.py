"""The names and defaults of MateConv, which its users type and have in their files."""

from __future__ import annotations

from typing import Any

PARSER: dict[str, Any] = {
    "config": None,
    "data_path": "./dataset/pretrain_data.bin",
    "val_data_path": None,
    "tokenizer_path": "path/to/tokenizer",  # there: the one on its author's machine
    "epochs": 15,
    "batch_size": 32,
    "learning_rate": 3e-4,
    "min_lr": 3e-5,
    "weight_decay": 0.1,
    "optimizer_type": "adamw",
    "lr_scheduler": "cosine",
    "warmup_ratio": 0.1,
    "use_ema": False,
    "grad_clip": 1.0,
    "accumulation_steps": 1,
    "dtype": "bfloat16",
    "eval_interval": 500,
    "save_interval": 1000,
    "log_interval": 10,
    "early_stopping": False,
    "patience": 5,
    "out_dir": "out",
    "resume": False,
    "resume_from": None,
    "ddp": False,
    "local_rank": -1,
    "use_wandb": False,
    "wandb_project": "MateConv-Pretrain",
    "wandb_run_name": None,
    "seed": 1337,
    "num_workers": 4,
}
"""The 31 arguments of MateConv's `train.py` (its function `parse_args`), each with its default; False: a switch."""

BEHIND: dict[str, Any] = {"ema_decay": 0.9999}
"""Defaults of its `optimized_pretrain.py` (class `TrainingConfig`) that are no arguments there and settings here."""

TYPED = {
    "val_data_path": "./dataset/val_data.bin",
    "resume_from": "out/checkpoint_step_5000.pth",
    "wandb_run_name": "exp1",
}
"""What is typed for the arguments without a default."""

FILE: dict[str, tuple[str, ...]] = {
    "data": ("train_data_path", "val_data_path", "tokenizer_path"),
    "training": (
        "epochs", "batch_size", "learning_rate", "min_lr", "weight_decay", "optimizer_type", "lr_scheduler",
        "warmup_ratio", "use_ema", "grad_clip", "accumulation_steps", "dtype", "eval_interval", "save_interval",
        "log_interval", "early_stopping", "patience", "out_dir",
    ),
    "wandb": ("enable", "project", "run_name"),
}  # fmt: skip
"""The keys of its `config.yaml` that its `train.py` reads (its function `main`)."""
