"""The names of a labelled dataset's classes, in the order of their numbers: from what the manifest says of its inputs,
the numbers themselves where it names none."""

from __future__ import annotations

from collections.abc import Sequence

from foundation.errors import UserError
from shards.dataset import Dataset
from shards.documents import NO_LABEL

MOST_CLASSES = 10_000
"""With a larger number, labels are no classes but something else."""


def label_names(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    """Names of all classes that documents of `datasets` may have; one that has no name is called by its number.

    Empty where no document has a label. `UserError` when inputs name the classes differently, or two classes alike.
    Reads all records: costs O(documents).
    """
    names: dict[int, str] = {}
    for dataset in datasets:
        for listed in _listed(dataset):
            for number, name in enumerate(listed):
                if names.setdefault(number, name) != name:
                    raise UserError(
                        f"{dataset.path}: class {number} is called {name!r} and {names[number]!r}; make the datasets "
                        "with the same --labels, in the same order"
                    )
    highest = max((_highest(dataset) for dataset in datasets), default=NO_LABEL)
    if highest == NO_LABEL:
        return ()
    if highest >= MOST_CLASSES:
        raise UserError(
            f"{datasets[0].path}: a document has the label {highest}, and there can be {MOST_CLASSES} classes at "
            "most; name the field that holds the class with the pipeline's --label_field"
        )
    found = tuple(names.get(number, str(number)) for number in range(max(highest, *names, 0) + 1))
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise UserError(f"{datasets[0].path}: two classes are called {twice!r}; make the dataset with other --labels")
    return found


def _listed(dataset: Dataset) -> list[list[str]]:
    """The lists of names that the inputs of `dataset` were read with."""
    if dataset.manifest is None:
        return []
    return [entry.options["labels"] for entry in dataset.manifest.inputs if entry.options.get("labels")]


def _highest(dataset: Dataset) -> int:
    """The largest label of any document, NO_LABEL when none has one."""
    labels = [shard.records["label"] for shard in dataset.shards if shard.records is not None and len(shard.records)]
    return max((int(of_shard.max()) for of_shard in labels), default=NO_LABEL)
