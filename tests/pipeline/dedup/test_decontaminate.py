"""Decontamination: shared n-grams are found whatever the case, punctuation, script or batch, and nothing else is."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.dedup.decontaminate import REASON, TABLE, ContaminationFilter, contamination_filter, read_evaluation
from pipeline.filters.base import TextBatch
from pipeline.filters.chain import FilterChain

QUESTION = "Which of the following rivers is the longest one that flows through the old town of Basel in summer?"
POEM = "春眠不覺曉處處聞啼鳥夜來風雨聲花落知多少"


def evaluation_file(place: Path, texts: list[str], field: str = "text") -> Path:
    place.write_text("".join(json.dumps({field: text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    return place


def dropped(config: PipelineConfig, work: Path, texts: list[str]) -> set[int]:
    verdicts = contamination_filter(config, work).judge(TextBatch([text.encode() for text in texts]))
    assert not verdicts.rewritten and set(verdicts.dropped.values()) <= {REASON}
    return set(verdicts.dropped)


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    return PipelineConfig(
        decontaminate=[str(evaluation_file(tmp_path / "eval.jsonl", [QUESTION, POEM, "Yes, it is."]))]
    )


def test_english_and_chinese(config: PipelineConfig, tmp_path: Path) -> None:
    words = QUESTION.split()
    shown = ["Some chatter before it:", *words[3:16], "and after"]
    assert dropped(
        config, tmp_path,
        [
            " ".join(shown),
            " ".join(shown).upper().replace(" ", ", "),
            " ".join([*words[3:9], "really", *words[9:16]]),  # no 13 words in a row
            "naïve " + " ".join(words[:13]),
            f"我讀到：{POEM[:5]}，{POEM[5:10]}，{POEM[10:14]}。很好",
            f"我讀到{POEM[:12]}很好",
            "yes it IS", "Yes, it is. So", "", "...",
        ],
    ) == {0, 1, 3, 4, 6}  # fmt: skip


def test_equals_plain_sets(tmp_path: Path) -> None:
    chance = random.Random(5)
    vocabulary = [f"w{n}" for n in range(4)] + ["é", "春"]

    def text() -> str:
        return " ".join(chance.choice(vocabulary) for _ in range(chance.randrange(1, 40)))

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}

    held_out, documents = [text() for _ in range(20)], [text() for _ in range(300)]
    path = evaluation_file(tmp_path / "eval.jsonl", held_out)
    config = PipelineConfig(decontaminate=[str(path)], decontaminate_ngram=5)
    grams = set().union(*map(runs, held_out))
    expected = {place for place, document in enumerate(documents) if runs(document) & grams}
    assert 0 < len(expected) < len(documents)
    assert dropped(config, tmp_path, documents) == expected
    chain = FilterChain(config, tmp_path)
    for start in range(0, 300, 37):
        verdicts = chain.judge([document.encode() for document in documents[start : start + 37]])
        assert {start + place for place in verdicts.dropped} == {n for n in expected if start <= n < start + 37}


def test_table_is_stored_once_and_mapped(config: PipelineConfig, tmp_path: Path) -> None:
    evaluation = read_evaluation(config)
    evaluation.store(tmp_path)
    table = np.load(tmp_path / TABLE)
    assert (table[1:] > table[:-1]).all() and len(table) == (19 - 12) + (20 - 12) + 1
    (tmp_path / "eval.jsonl").unlink()  # the table is enough now
    assert dropped(config, tmp_path, [QUESTION, "harmless"]) == {0}
    known = config.model_copy(update={"decontaminate": [evaluation.fingerprint]})
    assert dropped(known, tmp_path, [QUESTION]) == {0}
    read_evaluation(known).store(tmp_path)
    with pytest.raises(UserError, match="--decontaminate"):
        read_evaluation(known).store(tmp_path / "elsewhere")


def test_fingerprint_is_of_the_n_grams(tmp_path: Path) -> None:
    def fingerprint(name: str, texts: list[str], **changes: int) -> str:
        path = evaluation_file(tmp_path / name, texts)
        return read_evaluation(PipelineConfig(decontaminate=[str(path)], **changes)).fingerprint

    first = fingerprint("a.jsonl", [QUESTION, POEM])
    assert first == fingerprint("b.jsonl", [POEM, QUESTION.upper(), QUESTION])
    assert first != fingerprint("a.jsonl", [QUESTION, POEM + "x"])
    assert first != fingerprint("a.jsonl", [QUESTION, POEM], decontaminate_ngram=12)


def test_no_text_in_the_evaluation_file(tmp_path: Path) -> None:
    path = evaluation_file(tmp_path / "eval.jsonl", [QUESTION], field="question")
    with pytest.raises(UserError, match="text_field"):
        read_evaluation(PipelineConfig(decontaminate=[str(path)]))
    found = read_evaluation(PipelineConfig(decontaminate=[{"path": str(path), "text_field": "question"}]))
    assert found.ngrams is not None and len(found.ngrams) == 7


GOOD = json.dumps({"text": QUESTION})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (f'{GOOD}\n{{"question": "x"}}\n{GOOD}\n{{"question": "y"}}\n{{"text": 7}}\n'.encode(),
         r"eval.jsonl: 3 of 5 records .*commonest reason, 2 times: missing_text_field, .*'question'.*text_field: …"),
        (f'{GOOD}\n{{"text": "broken\n'.encode(), "1 of 2 records .*1 times: invalid_json.*mend them"),
        (GOOD.encode() + b'\n{"text": "\xff"}', "1 of 2 records .*invalid_utf8"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "1 of 1 records .*byte_order_mark"),
    ],
)  # fmt: skip
def test_records_that_cannot_be_read_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """Else the dataset would be said to be free of what nobody looked for."""
    (tmp_path / "eval.jsonl").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_evaluation(PipelineConfig(decontaminate=[str(tmp_path / "eval.jsonl")]))


def test_a_damaged_evaluation_file_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(json.dumps({"text": f"{n} {random.random()}"}).encode() + b"\n" for n in range(999)))
    path = tmp_path / "eval.jsonl.gz"
    config = PipelineConfig(decontaminate=[str(path)])
    path.write_bytes(whole)
    found = read_evaluation(config).ngrams
    assert found is not None and len(found) == 999
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"eval\.jsonl\.gz: damaged \(.*put a whole copy"):
        read_evaluation(config)


def test_ways_to_name_the_field(tmp_path: Path) -> None:
    """For one file, for all, by a template; labels need not be known, an empty text has nothing to find."""
    path = str(evaluation_file(tmp_path / "eval.jsonl", [QUESTION, ""], field="question"))
    own = read_evaluation(PipelineConfig(decontaminate=[{"path": path, "text_field": "question"}])).fingerprint
    assert own == read_evaluation(PipelineConfig(decontaminate=[path], text_field="question")).fingerprint
    template = {"path": path, "text_template": "{question}"}
    assert own == read_evaluation(PipelineConfig(decontaminate=[template])).fingerprint
    (tmp_path / "labelled.jsonl").write_text(
        json.dumps({"question": QUESTION, "text": "x", "label": "good"}) + '\n\n{"question": "", "label": 2.5}\n'
    )
    config = PipelineConfig(
        decontaminate=[{"path": str(tmp_path / "labelled.jsonl"), "text_field": "question", "label_field": "label"}]
    )
    assert own == read_evaluation(config).fingerprint
    (tmp_path / "eval.csv").write_text(f'label,question\ngood,"{QUESTION}"\n')
    table = {"path": str(tmp_path / "eval.csv"), "text_field": "question"}
    assert own == read_evaluation(PipelineConfig(decontaminate=[table])).fingerprint


def test_empty_table() -> None:
    nothing = ContaminationFilter(np.zeros(0, np.uint64), 13)
    assert not nothing.judge(TextBatch([b"a b c", b""])).dropped
