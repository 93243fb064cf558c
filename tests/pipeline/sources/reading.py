"""Read inputs as the pipeline does, task by task, and put the pieces together again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.config import PipelineConfig
from pipeline.plan import limits, make_plan
from pipeline.sources.base import BadRecord, Conversation, InputFile, Task
from pipeline.sources.find import find_inputs
from pipeline.sources.registry import source_for


class Document(NamedTuple):
    """A document with its line counted from 1 in the whole input."""

    source: str
    offset: int
    line: int
    text: str
    label: int
    conversation: Conversation | None


@dataclass
class Read:
    """What all tasks gave."""

    inputs: list[InputFile]
    tasks: list[Task]
    documents: list[Document] = field(default_factory=list)
    bad: list[tuple[str, int, BadRecord]] = field(default_factory=list)  # source, line from 1, record
    damage: dict[str, str] = field(default_factory=dict)
    digests: dict[str, list[str]] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        return [document.text for document in self.documents]

    @property
    def labels(self) -> list[int]:
        return [document.label for document in self.documents]

    @property
    def reasons(self) -> list[str]:
        return [bad.reason for _, _, bad in self.bad]


def read(inputs: Any, **settings: Any) -> Read:
    """Everything that `inputs` (a path or a list of paths and mappings) hold."""
    given = inputs if isinstance(inputs, list) else [inputs]
    config = PipelineConfig(input=[str(i) if isinstance(i, Path) else i for i in given], **settings)
    files = find_inputs(config)
    result = Read(files, make_plan(files, config))
    lines = dict.fromkeys(range(len(files)), 0)
    for task in result.tasks:
        name, base, left = files[task.source].name, lines[task.source], task.max_records
        reading = source_for(task.path, task.options).open(task, limits(config))
        for batch in reading:
            if left is not None:
                batch = batch.first(left)
                left -= batch.records
                if left == 0:
                    reading.stop()
            chats = batch.conversations or [()] * len(batch.texts)
            columns = zip(batch.offsets, batch.lines, batch.texts, batch.labels, chats, strict=True)
            result.documents += [
                Document(name, offset, base + line + 1, text.decode(), label, chat or None)
                for offset, line, text, label, chat in columns
            ]
            result.bad += [(name, base + bad.line + 1, bad) for bad in batch.bad]
        lines[task.source] += reading.newlines
        if reading.damage:
            result.damage[name] = reading.damage
        result.digests.setdefault(name, []).extend(reading.digests)
    return result
