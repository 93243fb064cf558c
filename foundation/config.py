"""Typed configuration: one YAML file, its sections as frozen models, every leaf also a command-line flag.

A command names the sections it reads and the flags that exist only on its command line; `load_config` merges
defaults, the YAML file and the flags, and reports every problem at once, each with its place and the nearest valid key.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from foundation.errors import UserError, did_you_mean
from foundation.flags import FlagSet, parse_flags
from foundation.former_keys import moved
from foundation.section import Section
from foundation.stages import KEY, settings_of, stages_of

SECTIONS = ("pipeline", "data", "model", "training", "logging", "generation")
DEFAULT_FILE = Path("config.yaml")


S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Loaded:
    """The merged configuration of one command."""

    sections: dict[str, Section]
    flags: Section
    given: frozenset[str]
    """Leaf names that the YAML file or the command line set, as opposed to defaults."""
    by_flag: frozenset[str] = frozenset()
    """Leaf names that the command line set, or the stage that was asked for."""
    of_stage: frozenset[str] = frozenset()
    """Leaf names that the stage set."""
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The stages of the file, as they stand there (see `foundation.stages`)."""

    def get(self, kind: type[S]) -> S:
        """The section (or the flags) of the given model class."""
        for section in (*self.sections.values(), self.flags):
            if isinstance(section, kind):
                return section
        raise KeyError(kind.__name__)

    def text(self) -> str:
        """The merged sections as YAML, each key under its description."""
        return "\n".join(_section_text(name, section) for name, section in self.sections.items())


def _section_text(name: str, section: Section) -> str:
    lines = [f"{name}:"]
    for key, known in type(section).model_fields.items():
        value = section.model_dump(mode="json")[key]
        dumped = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6).strip()
        lines.append(f"  {key}: {dumped.removesuffix('...').strip()}  # {known.description}")
    return "\n".join(lines) + "\n"


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """A YAML file's mapping, and the line of every key. `UserError` for a missing or malformed file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file; check --config") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text; save the configuration file as UTF-8") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; --config takes a YAML file") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "malformed"
        raise UserError(f"{path}{line}: not valid YAML ({problem}); check indentation and colons there") from None
    if value is None:
        return {}, {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: must hold sections ({', '.join(SECTIONS)}), found a {type(value).__name__}")
    lines: dict[tuple[str, ...], int] = {}
    twice: list[str] = []
    _collect_lines(node, (), lines, twice)
    if twice:
        raise UserError("; ".join(f"{path}:{problem}" for problem in twice) + "; keep one of them")
    return value, lines


def _collect_lines(node: Any, prefix: tuple[str, ...], lines: dict[tuple[str, ...], int], twice: list[str]) -> None:
    """Lines of the sections and of their keys. YAML itself would let the last of two equal keys win in silence."""
    if isinstance(node, yaml.MappingNode) and len(prefix) < 2:
        for key, child in node.value:
            place = (*prefix, str(key.value))
            line = key.start_mark.line + 1
            if place in lines:
                twice.append(f"{line}: {place[-1]!r} stands a second time (first in line {lines[place]})")
            lines[place] = line
            _collect_lines(child, place, lines, twice)


def load_config(
    prog: str,
    description: str,
    sections: Mapping[str, type[Section]],
    flags: type[Section],
    argv: Sequence[str],
    background: Mapping[str, type[Section]] | None = None,
    stage: str | None = None,
) -> Loaded:
    """Merge defaults, the YAML file and `argv` into the sections of one command.

    Sections in `background` are read from the file, but their leaves are no flags of this command. What a `stage` of
    the file sets goes before the rest of it; flags win over both.
    `--config FILE` names the YAML file (default: config.yaml in the current directory, if there);
    `--print_config` prints the merged result and exits. Raises one `UserError` that lists every problem.
    """
    flag_set = FlagSet(sections, flags, reads_file=bool(sections or background))
    parsed = parse_flags(prog, description, flag_set, argv)
    sections = {**sections, **(background or {})}
    path = parsed.config or (DEFAULT_FILE if flag_set.reads_file and DEFAULT_FILE.is_file() else None)
    document, lines = read_yaml(path) if path else ({}, {})
    problems: list[str] = []
    document = moved(document, lines, path, problems)
    merged = _yaml_sections(document, lines, path, sections, problems)
    stages = stages_of(document, path)
    by_stage: dict[str, dict[str, Any]] = {}
    by_flag: dict[str, dict[str, Any]] = {name: {} for name in ("", *sections)}
    origin: dict[tuple[str, str], str] = {}
    if stage is not None:
        by_stage = settings_of(stage, stages, sections, path, problems)
        origin = {(name, leaf): f"stage {stage!r}" for name, values in by_stage.items() for leaf in values}
    of_stage = frozenset(leaf for _, leaf in origin)
    for leaf, value in parsed.values.items():
        section = flag_set.owner[leaf] or ""
        by_flag[section][leaf] = value
        origin[(section, leaf)] = f"--{leaf}"
    built: dict[str, Section] = {}
    for name, kind in sections.items():
        section_lines = {kind.key_of(key[1]): line for key, line in lines.items() if len(key) > 1 and key[0] == name}
        over_file = kind.over(by_stage.get(name, {}), by_flag[name])
        built[name] = _build(kind, name, kind.merge(merged[name], over_file), path, section_lines, origin, problems)
    built_flags = _build(flags, "", by_flag[""], None, {}, origin, problems)
    if problems:
        raise UserError("\n  ".join(["the configuration has problems:", *problems]))
    by_flag_or_stage = frozenset(parsed.values) | of_stage
    given = by_flag_or_stage | {key for values in merged.values() for key in values}
    loaded = Loaded(built, built_flags, given, by_flag_or_stage, of_stage, stages)
    if parsed.print_config:
        print(loaded.text(), end="")
        raise SystemExit(0)
    return loaded


def _yaml_sections(
    document: dict[str, Any],
    lines: Mapping[tuple[str, ...], int],
    path: Path | None,
    sections: Mapping[str, type[Section]],
    problems: list[str],
) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for name, value in document.items():
        where = f"{path}:{lines.get((str(name),), 1)}"
        if name == KEY:
            continue
        if name not in SECTIONS:
            problems.append(f"{where}: unknown section {name!r}{did_you_mean(str(name), SECTIONS)}")
        elif name in sections and isinstance(value, dict):
            merged[name] = _by_field(value, sections[name], where, problems)
        elif value is not None and not isinstance(value, dict):
            problems.append(f"{where}: section {name!r} must hold keys, found {value!r}")
    return merged


def _by_field(value: dict[Any, Any], kind: type[Section], where: str, problems: list[str]) -> dict[str, Any]:
    """A section's values under the names of its fields, whichever name the file uses."""
    values: dict[str, Any] = {}
    for key, item in value.items():
        leaf = kind.key_of(str(key))
        if leaf in values:
            problems.append(f"{where}: {str(key)!r} is another name of {leaf!r}; keep one of them")
        values[leaf] = item
    return values


def _build(
    kind: type[Section],
    name: str,
    values: dict[str, Any],
    path: Path | None,
    lines: Mapping[str, int],
    origin: Mapping[tuple[str, str], str],
    problems: list[str],
) -> Section:
    try:
        return kind(**values)
    except ValidationError as error:
        for problem in error.errors():
            leaf = str(problem["loc"][0]) if problem["loc"] else ""
            where = origin.get((name, leaf)) or (f"{path}:{lines[leaf]}" if leaf in lines else f"section {name!r}")
            if problem["type"] == "extra_forbidden":
                problems.append(f"{where}: unknown key {leaf!r}{did_you_mean(leaf, kind.model_fields)}")
            else:
                message = _pair_wanted(kind, leaf, problem["type"]) or problem["msg"].removeprefix("Value error, ")
                shown = f" (got {problem['input']!r})" if leaf else ""
                line = f"{where}: {leaf + ': ' if leaf else ''}{message}{shown}"
                if line not in problems:
                    problems.append(line)
        return kind.model_construct()


def _pair_wanted(kind: type[Section], leaf: str, problem: str) -> str | None:
    """What to say where a setting takes so many values and no other number of them; None: it is something else."""
    field = kind.model_fields.get(leaf)
    wanted = typing.get_args(field.annotation) if field and typing.get_origin(field.annotation) is tuple else ()
    if field is None or not wanted or ... in wanted or problem not in ("missing", "too_long", "tuple_type"):
        return None
    example = " ".join(str(value) for value in field.get_default() or ())
    return f"takes {len(wanted)} values" + (f", for example --{leaf} {example}" if example else "")
