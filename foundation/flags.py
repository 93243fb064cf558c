"""Command-line flags made from configuration models: one flag a leaf, its description as help."""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pydantic.fields import FieldInfo

from foundation.errors import UserError, did_you_mean
from foundation.section import Section, bare_name

RESERVED = ("config", "print_config", "help")


class FlagSet:
    """The leaves of a command's sections and of its own flags; a leaf's name is unique among them."""

    def __init__(self, sections: Mapping[str, type[Section]], flags: type[Section], reads_file: bool = True) -> None:
        self.reads_file = reads_file
        self.owner: dict[str, str | None] = {}
        self.groups: list[tuple[str, type[Section]]] = []
        for name, kind in [*sections.items(), ("", flags)]:
            self.groups.append((name, kind))
            for leaf in kind.model_fields:
                assert leaf not in self.owner and leaf not in RESERVED, f"flag --{leaf} is declared twice"
                self.owner[leaf] = name or None
        for _, kind in self.groups:
            for leaf in kind.model_fields:
                for alias in map(bare_name, kind.other_names(leaf)):
                    assert alias == leaf or (alias not in self.owner and alias not in RESERVED), (
                        f"alias {alias} is taken"
                    )


@dataclass(frozen=True)
class ParsedFlags:
    """What the command line said. `values` holds only the leaves that were given."""

    config: Path | None
    print_config: bool
    values: dict[str, Any]


class _Parser(argparse.ArgumentParser):
    """argparse that raises `UserError` and names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; `{self.prog} --help` lists every option")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _bare(annotation: Any) -> Any:
    """The annotation without Optional and Annotated."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _bare(typing.get_args(annotation)[0])
    if _is_union(annotation):
        parts = [part for part in typing.get_args(annotation) if part is not type(None)]
        if len(parts) == 1:
            return _bare(parts[0])
    return annotation


def _is_list(field: FieldInfo) -> bool:
    return typing.get_origin(_bare(field.annotation)) in (list, tuple)


def _length(field: FieldInfo) -> int | None:
    """How many values a list takes; None: any number."""
    kinds = typing.get_args(_bare(field.annotation))
    return len(kinds) if typing.get_origin(_bare(field.annotation)) is tuple and ... not in kinds else None


def _accepts_none(field: FieldInfo) -> bool:
    return _is_union(field.annotation) and type(None) in typing.get_args(field.annotation)


def _spellings(leaf: str, aliases: Sequence[str]) -> list[str]:
    """Every way to write a flag: underscores and hyphens alike, in its own name and in its aliases."""
    bare = dict.fromkeys(bare_name(name) for name in (leaf, *aliases))
    names = [f"--{spelling}" for name in bare for spelling in (name, name.replace("_", "-"))]
    return list(dict.fromkeys(names))


def _help(field: FieldInfo) -> str:
    if field.is_required():
        return f"{field.description or ''} (required)".replace("%", "%%")
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, (list, tuple)):
        default = " ".join(str(item) for item in default) or "none"
    text = f"{field.description or ''} (default: {'null' if default is None else default})"
    return text.replace("%", "%%")


def _add(group: Any, leaf: str, field: FieldInfo, kind: type[Section]) -> None:
    if leaf in kind.positional:
        group.add_argument(leaf, nargs="?", metavar=leaf.upper(), default=argparse.SUPPRESS, help=_help(field))
        return
    names = _spellings(leaf, kind.other_names(leaf))
    options: dict[str, Any] = {"dest": leaf, "default": argparse.SUPPRESS, "help": _help(field)}
    if _bare(field.annotation) is bool:
        group.add_argument(*names, nargs="?", const=True, metavar="BOOL", **options)
        opposite = [f"--no_{leaf}", f"--no-{leaf.replace('_', '-')}"]
        group.add_argument(
            *dict.fromkeys(opposite), action="store_const", const=False,
            dest=leaf, default=argparse.SUPPRESS, help=argparse.SUPPRESS,
        )  # fmt: skip
    elif _is_list(field):
        # Repeated, a list goes on; a list of fixed length is one value, where the later one counts.
        repeated = "store" if _length(field) else "extend"
        group.add_argument(*names, nargs="+", action=repeated, metavar="VALUE", **options)
    else:
        group.add_argument(*names, metavar="VALUE", **options)


def parse_flags(prog: str, description: str, flag_set: FlagSet, argv: Sequence[str]) -> ParsedFlags:
    """Parse `argv`; values stay text here and are typed by their configuration models. `--help` exits 0."""
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    if flag_set.reads_file:
        parser.add_argument("--config", metavar="FILE", help="YAML file of settings (default: config.yaml if there)")
        parser.add_argument(
            "--print_config", "--print-config", action="store_true", help="print the merged configuration and exit"
        )
    nullable: dict[str, bool] = {}
    for name, kind in flag_set.groups:
        group = parser.add_argument_group(f"section {name!r} of the configuration" if name else "this command only")
        for leaf, field in kind.model_fields.items():
            _add(group, leaf, field, kind)
            nullable[leaf] = _accepts_none(field)
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        _refuse_unknown(prog, unknown, flag_set)
    values = vars(namespace)
    _refuse_missing(prog, flag_set.groups[-1][1], values)
    config = values.pop("config", None)
    print_config = values.pop("print_config", False)
    for leaf, value in values.items():
        if nullable[leaf] and value in ("null", "none", "None", ["null"]):
            values[leaf] = None
    return ParsedFlags(Path(config) if config else None, print_config, values)


def _refuse_unknown(prog: str, unknown: Sequence[str], flag_set: FlagSet) -> NoReturn:
    problems = []
    for word in unknown:
        name = word.split("=")[0].lstrip("-").replace("-", "_")
        hint = did_you_mean(name, [*flag_set.owner, *RESERVED], prefix="--") if word.startswith("-") else ""
        problems.append(f"unknown option {word!r}{hint}")
    raise UserError("; ".join(problems) + f". `{prog} --help` lists every option")


def _refuse_missing(prog: str, own: type[Section], values: Mapping[str, Any]) -> None:
    """What only the command line can say must be there; the fields of sections may come from the YAML file."""
    missing = [leaf for leaf, field in own.model_fields.items() if field.is_required() and leaf not in values]
    if missing:
        names = [leaf.upper() if leaf in own.positional else f"--{leaf}" for leaf in missing]
        raise UserError(f"{prog} needs {' and '.join(names)}; `{prog} --help` lists every option")
