"""Publish: copy the parts into shards and replace the manifest last.

The order on disk: content-named shards beside the old ones, the tokenizer, the manifest (the commit), then
statistics and samples, then the shards that the manifest no longer names are removed. A crash anywhere leaves the old
dataset or the new one, and running again gives the same bytes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation import atomic, fingerprint
from foundation.errors import UserError
from foundation.failpoints import failpoint
from pipeline.config import PipelineConfig
from pipeline.mapping.versions import versions
from pipeline.publishing.decide import Decisions
from pipeline.publishing.layout import FOLDERS, is_ours
from pipeline.publishing.pieces import cut
from pipeline.publishing.runs import extras_of, read_runs
from pipeline.publishing.target import LocalTarget
from pipeline.sources.base import InputFile, Task
from pipeline.sources.registry import source_for
from pipeline.workspace.parts import Summary
from shards.documents import EXTRAS, RECORD
from shards.manifest import (
    FILE_NAME,
    SPLITS,
    TOKENIZER_DIRECTORY,
    InputEntry,
    Manifest,
    RoleEntry,
    SplitEntry,
)
from shards.megatron import token_dtype
from shards.writer import SplitWriter
from tokenization.files import CARRIED_FILES
from tokenization.tokenizer import Tokenizer

SPANS_SUFFIX = EXTRAS["spans"][0]
_INDEX_BYTES = RECORD.itemsize + 20
"""Bytes of a document beside its tokens: its record, and length, pointer and number in the index."""


def input_entries(inputs: list[InputFile], tasks: list[Task], digests: list[list[str]]) -> list[InputEntry]:
    """The manifest's entries of the input files, from the block digests that mapping each task gave."""
    blocks: list[list[str]] = [[] for _ in inputs]
    sizes = [0 for _ in inputs]
    for task, values in zip(tasks, digests, strict=True):
        blocks[task.source].extend(values)
        sizes[task.source] = task.identity.size
    return [
        InputEntry(
            name=file.name,
            bytes=sizes[number],
            fingerprint=fingerprint.of_bytes("".join(b).encode()),
            pieces=source_for(file.path, file.options).pieces,
            options=file.options.entry(),
        )
        for number, (file, b) in enumerate(zip(inputs, blocks, strict=True))
    ]


def write_shards(
    config: PipelineConfig,
    decisions: Decisions,
    sources: list[int],
    dtype: np.dtype[np.generic],
    progress: Callable[[int], object],
    terminator: Sequence[int],
) -> dict[str, SplitEntry]:
    """Copy every kept document into the shards of its split, in input order; `progress` is told the tokens copied.

    A document that is to be written several times is written in as many passes, so that its copies lie far apart.
    """
    _check_space(config.output, decisions, dtype)
    extras = extras_of(decisions.summaries)
    entries: dict[str, SplitEntry] = {}
    for number, split in enumerate(SPLITS):
        writer = SplitWriter(config.output / split, dtype, config.shard_tokens, extras)
        try:
            for chosen in _passes(decisions, number):
                for place, part in enumerate(decisions.parts):
                    if not chosen[place].any():
                        continue
                    documents = decisions.documents[place]
                    for run in read_runs(part, documents, chosen[place], sources[place], dtype, extras):
                        copied = len(run.tokens)
                        if config.max_length is not None:
                            run = cut(run, config.max_length, len(terminator))
                        writer.append(run.tokens, run.lengths, run.records, run.text_bytes, run.extras)
                        progress(copied)
                    failpoint("publish.mid_split", config.output)
            entries[split] = writer.finish()
        except BaseException:
            writer.abandon()
            raise
    return entries


def _passes(decisions: Decisions, split: int) -> Iterator[list[npt.NDArray[np.bool_]]]:
    """For each pass over the parts the documents that are written into `split`, an array (n,) a part."""
    chosen = [splits == split for splits in decisions.splits]
    yield chosen
    repeats = decisions.repeats
    times = 1
    while repeats is not None:
        chosen = [mask & (more > times) for mask, more in zip(chosen, repeats, strict=True)]
        if not any(mask.any() for mask in chosen):
            return
        yield chosen
        times += 1


def _check_space(output: Path, decisions: Decisions, dtype: np.dtype[np.generic]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(output).free
    if decisions.repeats is None and free > sum(
        part.tokens * dtype.itemsize + part.documents * _INDEX_BYTES for part in decisions.summaries
    ):
        return  # there is room even for what is left out
    need = 0
    for place, splits in enumerate(decisions.splits):
        times = (
            (splits >= 0).astype(np.int64) if decisions.repeats is None else (splits >= 0) * decisions.repeats[place]
        )
        tokens = int(decisions.documents[place]["tokens"].astype(np.int64) @ times)
        need += tokens * dtype.itemsize + int(times.sum()) * _INDEX_BYTES
    if need > free:
        raise UserError(
            f"{output}: the shards need {need / 1e6:.1f} MB and the disk has {free / 1e6:.1f} MB free;"
            " free some space and run the same command with --resume"
        )


def build_manifest(
    config: PipelineConfig,
    settings: dict[str, Any],
    tokenizer: Tokenizer,
    inputs: list[InputEntry],
    splits: dict[str, SplitEntry],
) -> Manifest:
    """The manifest of the new dataset."""
    roles = {
        role: RoleEntry(token=tokenizer.id_to_token(number) or "", id=number)
        for role, number in tokenizer.roles.present().items()
    }
    return Manifest(
        dtype=token_dtype(tokenizer.vocab_size).name,
        vocab_size=tokenizer.vocab_size,
        roles=roles,
        terminator=tokenizer.roles.terminator,
        tokenizer_fingerprint=tokenizer.fingerprint,
        pipeline_fingerprint=fingerprint.of_json(settings),
        settings=settings,
        versions=versions(settings),
        block_bytes=config.block_bytes,
        inputs=inputs,
        splits=splits,
    )


def commit(output: Path, manifest: Manifest, tokenizer: Tokenizer) -> None:
    """Put the tokenizer and the manifest in place; after this the new dataset is what readers see."""
    if any(SPANS_SUFFIX in shard.files for split in manifest.splits.values() for shard in split.shards):
        from tokenization.chat import CHATML  # loads the language of templates, which other datasets need not wait for

        tokenizer = tokenizer.with_chat_template(CHATML)  # the form in which the conversations were encoded
    failpoint("publish.before_tokenizer", output)
    files = tokenizer.files()
    if LocalTarget(output).tokenizer_files() != files:
        # Another tokenizer cannot lie beside the old one, so the old dataset is withdrawn first: for this moment there
        # is none, never a mixture, and --resume goes on from the work.
        (output / FILE_NAME).unlink(missing_ok=True)
        atomic.fsync_directory(output)
        for name in CARRIED_FILES:
            if name not in files:
                (output / TOKENIZER_DIRECTORY / name).unlink(missing_ok=True)
        tokenizer.save(output / TOKENIZER_DIRECTORY)
        atomic.fsync_directory(output)
    failpoint("publish.before_manifest", output)
    manifest.save(output)
    failpoint("publish.after_manifest", output)


def remove_left_over(output: Path, manifest: Manifest) -> None:
    """Remove temporaries, and shards that the manifest does not name; what is not ours by its name stays."""
    for folder in ("", *FOLDERS):
        atomic.remove_temporaries(output / folder)
    for split in SPLITS:
        directory = output / split
        if not directory.is_dir():
            continue
        named = {shard.name + suffix for shard in manifest.splits[split].shards for suffix in shard.files}
        for path in directory.iterdir():
            if path.name not in named and is_ours(f"{split}/{path.name}") and path.is_file():
                path.unlink()
        if not any(directory.iterdir()) and not directory.is_symlink():
            directory.rmdir()


def newline_bases(tasks: list[Task], summaries: list[Summary]) -> list[int]:
    """For each task the number of lines of its file before it."""
    bases, totals = [], dict.fromkeys((task.source for task in tasks), 0)
    for task, summary in zip(tasks, summaries, strict=True):
        bases.append(totals[task.source])
        totals[task.source] += summary.newlines
    return bases
