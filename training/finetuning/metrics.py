"""How good a classifier is, from its confusion matrix alone: the numbers that scikit-learn's functions give.

L classes. Entry [t, p] of a confusion matrix (L, L) counts the documents of class t that the model takes for p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def confusion(truth: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> Counts:
    """The confusion matrix (classes, classes) of documents with labels `truth` (n,) taken for `predicted` (n,)."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def by_class(matrix: Counts) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 of each class, (L,) each; 0 where nothing was there to divide by.

    Precision is the share of right ones among what was taken for the class, recall among what is of the class, F1 the
    harmonic mean of both (van Rijsbergen 1979).
    """
    hits = np.diagonal(matrix).astype(np.float64)
    taken, there = matrix.sum(axis=0), matrix.sum(axis=1)
    return _share(hits, taken), _share(hits, there), _share(2 * hits, taken + there)


def summary(matrix: Counts) -> dict[str, float]:
    """The numbers of the whole: `accuracy`, and the means of precision, recall and F1 over the classes (`macro`) and
    over the documents (`weighted`). Recall's weighted mean is the accuracy.

    Macro means are over the classes that occur, in truth or in what the model says.
    """
    precision, recall, f1 = by_class(matrix)
    there = matrix.sum(axis=1)
    total = int(there.sum())
    occurs = (there > 0) | (matrix.sum(axis=0) > 0)
    weights = there / max(1, total)
    return {
        "accuracy": float(np.diagonal(matrix).sum() / max(1, total)),
        "f1_weighted": float(f1 @ weights),
        "f1_macro": _mean(f1[occurs]),
        "precision_weighted": float(precision @ weights),
        "precision_macro": _mean(precision[occurs]),
        "recall_macro": _mean(recall[occurs]),
    }


def report(matrix: Counts, names: Sequence[str]) -> dict[str, Any]:
    """Everything about a matrix as plain values, for a JSON file: `summary`, each class by its name, the matrix itself
    with rows of the true and columns of the predicted classes, in the order of `labels`."""
    precision, recall, f1 = by_class(matrix)
    classes = {
        name: {
            "precision": float(precision[number]),
            "recall": float(recall[number]),
            "f1": float(f1[number]),
            "documents": int(matrix[number].sum()),
        }
        for number, name in enumerate(names)
    }
    whole = {"documents": int(matrix.sum()), **summary(matrix)}
    return {**whole, "labels": list(names), "confusion_matrix": matrix.tolist(), "classes": classes}


def _share(part: Floats, of: npt.NDArray[Any]) -> Floats:
    shares: Floats = np.divide(part, of, out=np.zeros(len(part)), where=of > 0)
    return shares


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0
