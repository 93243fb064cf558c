"""Settings that only some tasks read: a flag that would change nothing is refused."""

from __future__ import annotations

from collections.abc import Collection

from foundation.errors import UserError

MASKED = ("mlm", "mlm_nsp")
READ_BY: dict[str, tuple[str, ...]] = {
    "mlm_probability": MASKED,
    "mask_replace_prob": MASKED,
    "random_replace_prob": MASKED,
    "whole_word_mask": MASKED,
    "packing": ("causal",),
    "chat_plain_text": ("chat",),
    "truncation": ("classify",),
}
"""The tasks that read a setting, for those that not all tasks read."""


def check_flags(task: str, by_flag: Collection[str]) -> None:
    """`UserError` for settings of other tasks among those that the command line named. A file may hold them for all
    tasks."""
    idle = [name for name in READ_BY if name in by_flag and task not in READ_BY[name]]
    if idle:
        raise UserError(
            "\n  ".join(
                ["the configuration has problems:"]
                + [f"--{name} is for {' and '.join(READ_BY[name])}; task {task} does not read it" for name in idle]
                + ["leave out what the task does not read, or give another --task"]
            )
        )
