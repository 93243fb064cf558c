"""Check what stands beside the shards: the manifest, the tokenizer, statistics, lists of records, stray files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundation import fingerprint
from foundation.errors import UserError
from pipeline.publishing.layout import REPORT, STATS, SUMS
from pipeline.verification.checksums import DamagedList, covered, read_checksums
from pipeline.verification.problems import Problems
from shards import plan_place
from shards.manifest import FILE_NAME as MANIFEST
from shards.manifest import TOKENIZER_DIRECTORY, Manifest
from shards.megatron import token_dtype
from tokenization.files import TOKENIZER_JSON
from tokenization.tokenizer import Tokenizer


def check_listed(dataset: Path, problems: Problems) -> None:
    """Compare the listed files with SHA256SUMS, the report's with its own; name what is on neither list."""
    for directory, prefix in ((dataset, ""), (dataset / REPORT, f"{REPORT}/")):
        present = set(covered(directory))
        try:
            listed = read_checksums(directory)
        except DamagedList as error:
            problems.add(f"{prefix}{SUMS}", str(error))
            continue
        if listed is None:
            if present:
                problems.add(f"{prefix}{SUMS}", "is missing, so the files beside the shards cannot be checked")
            continue
        for name in sorted(present - listed.keys()):
            problems.add(f"{prefix}{name}", "is no part of the dataset: no list names it")
        for name, expected in listed.items():
            if name not in present:
                problems.add(f"{prefix}{name}", "is missing")
            elif fingerprint.of_file(directory / name) != expected:
                problems.add(f"{prefix}{name}", f"its checksum is not that of {prefix}{SUMS}")


def check_stray_shards(dataset: Path, manifest: Manifest, problems: Problems) -> None:
    """Name files in the splits' directories that the manifest does not name. What training keeps beside a single shard
    that it was given is none of them."""
    for split, entry in manifest.splits.items():
        named = {shard.name + suffix for shard in entry.shards for suffix in shard.files}
        directory = dataset / split
        for path in sorted(directory.rglob("*")) if directory.is_dir() else []:
            inside = path.relative_to(directory)
            if path.is_file() and inside.as_posix() not in named and inside.parts[0] != plan_place.NAME:
                problems.add(path.relative_to(dataset), "is no part of the dataset: the manifest does not name it")


def check_manifest(dataset: Path, manifest: Manifest, problems: Problems) -> None:
    """What a manifest says must agree with itself and with the tokenizer."""
    if manifest.encode() != (dataset / MANIFEST).read_bytes():
        problems.add(MANIFEST, "is not written as this program writes it")
    if manifest.pipeline_fingerprint != fingerprint.of_json(manifest.settings):
        problems.add(MANIFEST, "its settings do not fit their fingerprint")
    for split, entry in manifest.splits.items():
        for name in ("documents", "tokens", "text_bytes"):
            if getattr(entry, name) != sum(getattr(shard, name) for shard in entry.shards):
                problems.add(MANIFEST, f"the {name} of {split} are not the sum over its shards")
    if manifest.dtype != token_dtype(manifest.vocab_size).name:
        problems.add(MANIFEST, f"{manifest.dtype} is not the type for {manifest.vocab_size} tokens")


def check_tokenizer(dataset: Path, manifest: Manifest, problems: Problems) -> Tokenizer | None:
    """The dataset's tokenizer, when it is the one the manifest names."""
    name = f"{TOKENIZER_DIRECTORY}/{TOKENIZER_JSON}"
    try:
        tokenizer = Tokenizer.load(dataset / TOKENIZER_DIRECTORY)
        if tokenizer.fingerprint != manifest.tokenizer_fingerprint:
            problems.add(name, "is not the tokenizer the dataset was made with")
            return None
    except (UserError, ValueError) as error:
        problems.add(name, f"cannot be used ({error})")
        return None
    roles = {role: entry.id for role, entry in manifest.roles.items()}
    if tokenizer.vocab_size != manifest.vocab_size or tokenizer.roles.present() != roles:
        problems.add(MANIFEST, "its vocabulary size and roles are not the tokenizer's")
    if tokenizer.roles.terminator != manifest.terminator:
        problems.add(MANIFEST, "its terminator is not the tokenizer's")
    return tokenizer


def check_statistics(dataset: Path, manifest: Manifest, problems: Problems) -> None:
    """The accounts of stats.json close, sum up over the sources, and agree with the manifest."""
    try:
        stats = json.loads((dataset / STATS).read_bytes())
        for what in _account_faults(stats, manifest):
            problems.add(STATS, what)
    except FileNotFoundError:
        problems.add(STATS, "is missing")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problems.add(STATS, f"cannot be read ({type(error).__name__}: {error})")


def _account_faults(stats: Mapping[str, Any], manifest: Manifest) -> list[str]:
    faults = []
    accounts = stats["accounts"]
    for unit in ("records", "bytes"):
        outcomes = sum(entry[unit] for outcome, entry in accounts.items() if outcome != "read")
        if accounts["read"][unit] != outcomes:
            faults.append(f"{accounts['read'][unit]} {unit} were read, {outcomes} are accounted for")
        for outcome, entry in accounts.items():
            over_sources = sum(account[outcome][unit] for account in stats["sources"].values())
            if over_sources != entry[unit]:
                faults.append(f"{outcome} {entry[unit]} {unit}, over the sources {over_sources}")
    for split, entry in manifest.splits.items():
        for name in ("documents", "tokens", "text_bytes"):
            if stats["splits"][split][name] != getattr(entry, name):
                faults.append(
                    f"{name} of {split}: {stats['splits'][split][name]}, the manifest says {getattr(entry, name)}"
                )
    return faults
