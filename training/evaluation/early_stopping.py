"""Early stopping: the end of a run whose validation loss no longer falls."""

from __future__ import annotations

import math

from foundation.errors import UserError
from training.config import TrainingConfig
from training.state import RunState


def require_validation(config: TrainingConfig, has_validation: bool) -> None:
    """`UserError` when early stopping is asked for and there is nothing to validate on."""
    if config.early_stopping and not has_validation:
        raise UserError(
            "early_stopping watches the validation loss, and there is nothing to validate on; name a dataset with "
            "--val_data_path, or give --early_stopping false"
        )


def take_note(state: RunState, value: float, validation: str, min_delta: float) -> None:
    """Account for a validation of the data `validation` that gave `value` (nats a token).

    It is an improvement when it lies more than `min_delta` below the last improvement. Values of other data are not
    compared: the account starts again.
    """
    account = state.early
    if account is None or account["validation"] != validation:
        account = {"validation": validation, "value": math.inf, "step": state.step, "stale": 0}
    if math.isfinite(value) and value < account["value"] - min_delta:
        account = {**account, "value": value, "step": state.step, "stale": 0}
    else:
        account = {**account, "stale": account["stale"] + 1}
    state.early = account


def stopped_early(config: TrainingConfig, state: RunState) -> bool:
    """Whether `patience` validations in a row were no improvement. A pure function, so that a resumed run knows."""
    return config.early_stopping and state.early is not None and state.early["stale"] >= config.patience


def why(config: TrainingConfig, state: RunState) -> str:
    """What a run that stopped early tells its owner."""
    assert state.early is not None
    least = f" by more than {config.min_delta:g}" if config.min_delta else ""
    return (
        f"stopped early at step {state.step}: the validation loss has not fallen{least} in {state.early['stale']} "
        f"validations, since {state.early['value']:.4f} at step {state.early['step']}"
    )
