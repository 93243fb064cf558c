"""The numbers of a classifier against scikit-learn's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.finetuning.metrics import by_class, confusion, report, summary

ANSWERS = st.integers(2, 6).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=40),
    )
)


@pytest.fixture(scope="module")
def sklearn() -> Any:
    return pytest.importorskip("sklearn.metrics")


@given(ANSWERS)
@settings(max_examples=60, deadline=None)
def test_the_numbers_are_scikit_learns(sklearn: Any, answers: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = answers
    truth, said = np.array(pairs, np.int64).T
    matrix = confusion(truth, said, classes)
    found = summary(matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes that nobody named
        assert np.array_equal(matrix, sklearn.confusion_matrix(truth, said, labels=range(classes)))
        assert found.pop("accuracy") == pytest.approx(sklearn.accuracy_score(truth, said))
        for name, value in found.items():
            measure, average = name.rsplit("_", 1)
            function = getattr(sklearn, f"{measure}_score")
            assert value == pytest.approx(function(truth, said, average=average, zero_division=0)), name
        ours = by_class(matrix)
        theirs = sklearn.precision_recall_fscore_support(truth, said, labels=range(classes), zero_division=0)
        for mine, other in zip(ours, theirs, strict=False):
            assert mine == pytest.approx(other)


def test_the_report_names_every_class() -> None:
    found = report(np.array([[3, 1], [0, 4]]), ["no", "yes"])
    assert found["confusion_matrix"] == [[3, 1], [0, 4]] and found["labels"] == ["no", "yes"]
    assert found["documents"] == 8 and found["accuracy"] == 7 / 8
    assert found["classes"]["no"] == {"precision": 1.0, "recall": 0.75, "f1": pytest.approx(6 / 7), "documents": 4}


def test_no_document_at_all_gives_zeros() -> None:
    assert set(summary(np.zeros((3, 3), np.int64)).values()) == {0.0}
