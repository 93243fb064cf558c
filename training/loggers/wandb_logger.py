"""Weights & Biases. The library is imported only when it is used."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import UserError, first_line
from foundation.logs import get_logger
from training.config import LoggingConfig
from training.loggers import Event, Logger, Row, Sample

log = get_logger("training")

_FINISH_SECONDS = 20.0
"""What a stopped run can wait for an upload: a cluster's SIGKILL follows its SIGTERM after 30 seconds. wandb takes the
limit at the start, so the end of a finished run has the same."""


class WandbLogger(Logger):
    """Sends rows to a Weights & Biases run; `run_id` is the one to continue, or None for a new one.

    Offline, everything lies in `directory`/wandb for a later `wandb sync`.
    """

    def __init__(self, config: LoggingConfig, directory: Path, run_id: str | None, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("use_wandb: the package is not installed; pip install wandb, or leave it out") from None
        self._library = wandb
        self._mode = config.wandb_mode
        self._failed = False
        try:
            self._run = wandb.init(
                project=config.wandb_project,
                name=config.wandb_run_name,
                mode=config.wandb_mode,
                dir=str(directory),
                id=run_id,
                resume="allow" if run_id else None,
                config=dict(settings),
                settings=settings_for(wandb.Settings),
            )
        except Exception as error:  # its own kinds, and others for odd settings in its environment variables
            raise UserError(
                f"Weights & Biases could not start ({first_line(error)}); run `wandb login`, or use --wandb_mode "
                "offline"
            ) from None

    def begin(self) -> None:
        """Let steps be the axis of everything, and say where the run is to be seen."""
        # W&B's own count of steps never goes back: a resume from an older checkpoint would lose the rows up to there.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        if self._mode == "online":
            log.info("Weights & Biases: %s", self._run.url)
        elif self._mode == "offline":
            log.info("Weights & Biases: offline, for a later wandb sync %s", self._run.settings.sync_dir)

    @property
    def run_id(self) -> str:
        """What a resumed run passes to continue this one."""
        return str(self._run.id)

    def log(self, row: Row) -> None:
        """One step's numbers."""
        self._run.log(row)

    def note(self, event: Event) -> None:
        """Remember that the run went wrong."""
        self._failed = self._failed or event["event"] == "diverged"

    def show(self, step: int, samples: Sequence[Sample]) -> None:
        """The samples as a table."""
        rows = [[sample["prompt"], sample["text"]] for sample in samples]
        self._run.log({"step": step, "samples": self._library.Table(columns=["prompt", "text"], data=rows)})

    def close(self) -> None:
        """Upload or write what is left, and say whether all went well."""
        failed = self._failed or sys.exc_info()[0] is not None
        try:
            self._run.finish(exit_code=int(failed))
        except TimeoutError:
            log.warning(
                "Weights & Biases has not taken everything within %.0f s; the rest waits here: wandb sync %s",
                _FINISH_SECONDS,
                self._run.settings.sync_dir,
            )
        except Exception:  # its process is gone: a later run here needs another, and Python's end shall not look for it
            with contextlib.suppress(Exception, SystemExit):
                self._library.teardown()
            raise


def settings_for(make: Any) -> Any:
    """wandb's settings by `make`, which knows a limit of its last upload only in newer versions."""
    wanted = {"silent": True, "finish_timeout": _FINISH_SECONDS, "finish_timeout_raises": True}
    known = getattr(make, "model_fields", wanted)
    return make(**{name: value for name, value in wanted.items() if name in known})
