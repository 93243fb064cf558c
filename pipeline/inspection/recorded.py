"""What a manifest records of how a dataset was made: its settings, and how its inputs were read.

A stranger may have written it. It decides which bytes come out, never where something is written, which other file is
opened, which machine is asked, or which code runs: that is said by whoever runs a command.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.sources.base import InputFile, InputOptions
from pipeline.sources.compression import SUFFIXES as COMPRESSIONS
from pipeline.sources.registry import DIRECTORY_FORMAT, READABLE
from shards.manifest import InputEntry

TOKENIZER_SETTING, EVALUATION_SETTING = "tokenizer", "decontaminate"
"""Settings that are recorded as fingerprints of what they named."""
TRAINED = "trained"
_OPTIONS = TypeAdapter(InputOptions)


def config_of(settings: Mapping[str, Any], configured: PipelineConfig | None = None, **changes: Any) -> PipelineConfig:
    """The configuration that gives a dataset's `settings`; `changes` are what these do not hold.

    Settings may name a Python function (`custom_filter`): that is loaded only when the user's own configuration,
    `configured`, names it too; without `configured` it is left out, for those who only read records. Raises
    `UserError` for settings that cannot be used, and for any that no dataset's bytes depend on (`work_directory`).
    """
    values = {key: value for key, value in settings.items() if key not in (TOKENIZER_SETTING, EVALUATION_SETTING)}
    for key in sorted(values.keys() & PipelineConfig.neutral()):
        raise _unusable("settings", key, "is for the user to say and belongs in no manifest")
    if EVALUATION_SETTING in settings and not _is_one_fingerprint(settings[EVALUATION_SETTING]):
        raise _unusable("settings", EVALUATION_SETTING, "is no fingerprint of an evaluation set")
    function = values.get("custom_filter")
    if configured is None:
        values |= {"custom_filter": None, "custom_filter_source": None}
    elif function is not None and function != configured.custom_filter:
        raise UserError(
            f"the dataset was filtered by the Python function {function}; to let it run here, name it in the"
            " configuration file, as custom_filter"
        )
    try:
        return PipelineConfig(**{**values, **changes})
    except ValidationError as error:
        raise _unusable("settings", *_first(error)) from None


def _is_one_fingerprint(value: object) -> bool:
    return isinstance(value, list) and len(value) == 1 and fingerprint.is_one(value[0])


def tokenizer_of(settings: Mapping[str, Any]) -> str:
    """The fingerprint of the tokenizer that was given, or TRAINED. Raises `UserError`."""
    value = settings.get(TOKENIZER_SETTING)
    if isinstance(value, str) and (value == TRAINED or fingerprint.is_one(value)):
        return value
    raise _unusable("settings", TOKENIZER_SETTING, "is no fingerprint of a tokenizer")


def options_of(entry: InputEntry, file: InputFile) -> InputOptions:
    """How the input `file` was read when the dataset was made; as it would be read now when its `entry` says nothing.

    Raises `UserError` for options that no input can have.
    """
    if not entry.options:
        return file.options
    what = f"options of {entry.name}"
    for key in sorted(entry.options.keys() - InputOptions.__dataclass_fields__.keys()):
        raise _unusable(what, key, "is no option of an input")
    try:
        options = _OPTIONS.validate_python(entry.options)
    except ValidationError as error:
        raise _unusable(what, *_first(error)) from None
    if options.format not in READABLE or (options.format == "csv" and not options.csv_delimiter):
        raise _unusable(what, "format", "is none that is read")
    if options.compression not in ("", *COMPRESSIONS.values()):
        raise _unusable(what, "compression", "is none that is read")
    if (options.format == DIRECTORY_FORMAT) != (file.options.format == DIRECTORY_FORMAT):
        raise _unusable(what, "format", f"does not go with {file.path}: one is a file, the other a directory")
    return options


def _first(error: ValidationError) -> tuple[str, str]:
    """Name and fault of the first value that is wrong."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), f"({first['msg']})"


def _unusable(what: str, name: str, fault: str) -> UserError:
    return UserError(
        f"the dataset's {what} cannot be used by this version: {name} {fault}; make the dataset again, from its source"
    )
