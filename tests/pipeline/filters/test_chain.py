"""The chain: the order of reasons, one verdict whatever the batch, rewriting, a user's function, a blocklist."""

from __future__ import annotations

import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from foundation.errors import UserError
from pipeline.config import PipelineConfig
from pipeline.filters.base import DocumentError, Verdicts
from pipeline.filters.c4 import C4Limits
from pipeline.filters.chain import FilterChain, limits_of
from pipeline.filters.fineweb import FineWebLimits
from pipeline.filters.gopher_quality import GopherQualityLimits
from pipeline.filters.gopher_repetition import GopherRepetitionLimits

from .texts import batches

SENTENCES = "We went to the sea with that dog. It was cold! Was it? Yes it was. We left."
LOOSE: dict[str, Any] = {
    "gopher_quality": True, "gopher_repetition": True, "c4": True, "fineweb": True, "gopher_min_words": 3,
    "gopher_min_word_length": 1, "c4_min_sentences": 1, "gopher_min_stop_words": 0, "min_words": 2, "max_words": 300,
    "blocklist": ["lorem ipsum", "處處", "x-ray"], "max_cjk": 0.9, "gopher_max_top_ngrams": [0.5, 0.5],
    "gopher_max_repeated_ngrams": [0.4], "fineweb_max_repeated_characters": 0.3, "gopher_min_alphabetic_words": 0.3,
}  # fmt: skip


def chain(**values: Any) -> FilterChain:
    return FilterChain(PipelineConfig.model_validate(values))


def judge(filters: FilterChain, *texts: str) -> list[str | None]:
    dropped = filters.judge([text.encode() for text in texts]).dropped
    return [dropped.get(place) for place in range(len(texts))]


@settings(deadline=None)
@given(batches)
def test_a_batch_is_judged_as_its_documents_alone(documents: list[str]) -> None:
    filters = chain(**LOOSE)
    texts = [document.encode() for document in documents]
    together = filters.judge(texts)
    alone = [filters.judge([text]) for text in texts]
    assert together.dropped == {place: each.dropped[0] for place, each in enumerate(alone) if each.dropped}
    assert together.rewritten == {place: each.rewritten[0] for place, each in enumerate(alone) if each.rewritten}
    assert together.dropped.keys().isdisjoint(together.rewritten)


def test_an_empty_batch() -> None:
    assert chain(**LOOSE).judge([]) == Verdicts()


def test_the_first_filter_gives_the_reason() -> None:
    spam = "!!! 123 " * 99
    assert judge(chain(), "", spam, SENTENCES) == ["empty", "few_letters", None]
    assert judge(chain(max_chars=400), spam) == ["too_long"]
    assert judge(chain(max_digits=0.3), spam) == ["mostly_digits"]
    loose = {"min_letters": None}
    assert judge(chain(**loose), spam) == ["repeated_ngrams"]
    loose["max_repeated_ngrams"] = None
    assert judge(chain(**loose), spam) == [None]
    assert judge(chain(**loose, min_words=500), spam) == ["too_few_words"]
    assert judge(chain(**loose, gopher_quality=True, fineweb=True), spam) == ["gopher_words_without_letters"]


def test_limits_of_words_and_characters() -> None:
    filters = chain(min_chars=3, max_chars=12, min_words=2, max_words=3)
    texts = ["ab", "a b", "a b c d", "春眠", "春眠不", "春眠不覺", "one, two!", "a longer text"]
    assert judge(filters, *texts) == [
        "too_short", None, "too_many_words", "too_short", None, "too_many_words", None, "too_long",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prefix", "kinds"),
    [("gopher_", (GopherQualityLimits, GopherRepetitionLimits)), ("c4_", (C4Limits,)), ("fineweb_", (FineWebLimits,))],
)
def test_every_threshold_is_a_setting(prefix: str, kinds: tuple[Any, ...]) -> None:
    switches = {"gopher_quality", "gopher_repetition"}
    config = PipelineConfig()
    limits: dict[str, Any] = {}
    for kind in kinds:
        limits |= asdict(limits_of(config, kind, prefix))
    assert {prefix + name: value for name, value in limits.items()} == {
        name: value for name, value in config if name.startswith(prefix) and name not in switches
    }


def test_later_filters_see_what_c4_left() -> None:
    menu = "Home\nAbout\nContact\n"
    assert judge(chain(fineweb=True), "\n".join(map(str, range(40))) + SENTENCES) == ["fineweb_line_punctuation"]
    verdicts = chain(c4=True, fineweb=True, max_repeated_lines=None).judge([(menu + SENTENCES).encode(), b"x"])
    assert verdicts == Verdicts({1: "c4_few_sentences"}, {0: SENTENCES.encode()})
    dropped = chain(c4=True, fineweb=True, fineweb_short_line=200).judge([(menu + SENTENCES).encode()])
    assert dropped == Verdicts({0: "fineweb_short_lines"}, {})


def test_chat_records_are_judged_but_not_rewritten() -> None:
    talk = f"Hi\n{SENTENCES}".encode()
    assert chain(c4=True).judge([talk], [(("user", b"Hi"), ("assistant", SENTENCES.encode()))]) == Verdicts()
    assert chain(c4=True, max_chars=5).judge([talk], [True]).dropped == {0: "too_long"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A BAD thing", True), ("bad", True), ("badly done", False), ("too_bad", False), ("it is bad.", True),
        ("two\twords", True), ("two wordsmiths", False), ("这是坏词吗", True), ("c++ rules", True), ("abc++", False),
        ("ÜBEL", True), ("übelst", False), ("나쁜말이", True), ("", False), ("the a.b case", True),
        ("the axb case", False),
    ],
)  # fmt: skip
def test_blocklist(text: str, found: bool, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\ufefftwo words\n\n坏词\nc++\nübel\n나쁜말\na.b\n", encoding="utf-8")
    filters = chain(blocklist=["bad"], blocklist_file=str(file), min_chars=1)
    assert judge(filters, text or "nothing") == ["blocklist" if found else None]


def test_a_long_blocklist_is_searched_for_in_groups() -> None:
    words = [f"w{number}" for number in range(1009)]
    assert judge(chain(blocklist=words), "w0", "w1008", "w1009", "w403 w404", "none") == [
        "blocklist", "blocklist", None, "blocklist", None,
    ]  # fmt: skip


def test_the_words_of_the_blocklist_file_are_settings_its_place_is_not(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("one\ntwo\n")
    first, second = (PipelineConfig(blocklist_file=tmp_path / name).settings() for name in ("a.txt", "b.txt"))
    assert first == second
    assert first["blocklist"] == ["one", "two"]
    with pytest.raises(ValidationError, match="cannot read"):
        PipelineConfig(blocklist_file=tmp_path / "none.txt")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module `own_rules` that can be imported."""
    file = tmp_path / "own_rules.py"
    file.write_text(
        "def rule(text):\n"
        "    if 'boom' in text:\n"
        "        return 1 // 0\n"
        "    return {'yes': True, 'no': False, 'none': None, 'spam': 'spam', 'odd': 17}[text]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_rules", raising=False)
    return file


def test_own_function(module: Path) -> None:
    filters = chain(custom_filter="own_rules:rule")
    assert judge(filters, "yes", "no", "none", "spam") == [None, "custom", None, "custom_spam"]


@pytest.mark.parametrize(("text", "told"), [("boom", "ZeroDivisionError"), ("odd", "answered 17")])
def test_a_failing_function_names_the_document(module: Path, text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=f"own_rules:rule.*{told}.*{text!r}") as error:
        chain(custom_filter="own_rules:rule").judge([b"", b"yes", text.encode()])
    assert error.value.place == 2
    copy = pickle.loads(pickle.dumps(error.value))
    assert (copy.place, str(copy)) == (2, str(error.value))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("own_rules", "not of the form"), ("no_such_module:rule", "cannot import no_such_module"),
        ("own_rules:rul", "did you mean rule"), ("sys:exit", "no source file"),
    ],
)  # fmt: skip
def test_a_function_that_is_not_there(module: Path, path: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PipelineConfig(custom_filter=path)


def test_another_source_is_another_setting(module: Path) -> None:
    before = PipelineConfig(custom_filter="own_rules:rule").settings()
    module.write_text(module.read_text() + "# changed\n")
    after = PipelineConfig(custom_filter="own_rules:rule").settings()
    assert {key for key in before if before[key] != after[key]} == {"custom_filter_source"}
    with pytest.raises(ValidationError, match="another source"):
        PipelineConfig.model_validate({key: before[key] for key in ("custom_filter", "custom_filter_source")})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"min_words": 9, "max_words": 3}, "max_words 3 is below min_words 9"),
        ({"min_cjk": 0.5, "max_cjk": 0.1}, "max_cjk"),
        ({"gopher_max_top_ngrams": [1.5]}, "less than or equal to 1"),
    ],
)
def test_limits_that_exclude_each_other(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        PipelineConfig.model_validate(values)


def test_languages() -> None:
    pytest.importorskip("lingua")
    texts = [
        "The committee said on Tuesday that the new rules would come into force next year.",
        "月落烏啼霜滿天，江楓漁火對愁眠。",
        "今天天气很好，我们一起去公园散步吧。",
        "Le président de la République a annoncé mardi soir de nouvelles mesures.",
        "東京は日本の首都であり、世界でも有数の大都市である。",
        "= = = = = = =",
    ]
    filters = chain(languages=["en", "zh"], max_symbols=None, min_letters=None)
    assert judge(filters, *texts) == [None, None, None, "language_fr", "language_ja", "language_unknown"]
    assert judge(chain(languages=["fr"]), texts[3], "é" * 5000 + texts[0])[0] is None
    with pytest.raises(UserError, match="'eng' is no language code that lingua knows"):
        chain(languages=["eng"])
