"""Cleaning against a plain rewriting of its documentation, and its properties: batches, idempotence, valid UTF-8."""

from __future__ import annotations

import re
import unicodedata
from html import unescape
from html.entities import html5
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.cleaning.base import Texts
from pipeline.cleaning.blanks import strip, tidy_lines
from pipeline.cleaning.cleaner import STEPS, Cleaner
from pipeline.cleaning.html import DecodeHtmlEntities
from pipeline.cleaning.unicode_form import UnicodeForm
from pipeline.config import PipelineConfig
from pipeline.filters.base import TextBatch
from pipeline.filters.length import LengthFilter
from pipeline.settings.cleaning import CleaningSettings

from .conftest import plain_cleaning

_PIECES = (
    "\r \n \t \x00 \x0b \x7f \x81 \x85 \x93 \x96 \x9f \u3000 \u2028 < > / br a A é e\u0301 \ufb01 Ａ ＜ ２ · “ ” — … "
    "Ã © Ã© â€™ â\x80\x99 Â ü € Ø ™ œ × ² ГўВЂВЅ в Ђ √ ± \u200b \u200c \u200d \ufeff \u00ad 👩 💻 ی خ क ् "
    "&amp; & amp; &lt; &gt; #38; &#38; &#x3c; &#13; &#0; &#xD800; &#150; &nbsp; &copy &bogus; <b> </b> <p> <td> < b > "
    "<!-- --> <script> </script> <style> ]]> <![CDATA[ <a href='x>y'> <br <br/> <BR > <img src=x alt=\"a<b\"> "
    "http:// https://x.org/a?b=c www. ftp://h @ me@x.org . , 1.2.3.4 256.1.1.1 2001:db8::1 :: 12:30:45 \\1"
)
_REFERENCES = "& ; # x X 0 3 8 38 26 amp AMP lt semi fjlig bogus é a &#x3 &amp;"
_MARKS = "\u0300\u0316\u0344\u0f73\uff9eかカeé\u1100\u1161\U0001d15e\U0001d165"
TEXT = st.lists(
    st.sampled_from([*_PIECES.split(" "), " ", "\n"]) | st.characters(exclude_categories=["Cs"]), max_size=25
).map("".join)
ALL: dict[str, Any] = {
    **dict.fromkeys(["repair_mojibake", "remove_zero_width", "decode_html_entities", "remove_html_tags"], True),
    "unicode_form": "NFKC", "url_mask": "<url>", "email_mask": "<email>", "ip_mask": r"[\ip]",
}  # fmt: skip
OFF: dict[str, Any] = {
    name: False if field.annotation is bool else "none" if name == "unicode_form" else None
    for name, field in CleaningSettings.model_fields.items()
}


def cleaner(**changes: Any) -> Cleaner:
    return Cleaner(CleaningSettings(**changes))


def clean(*texts: str, **changes: Any) -> list[str]:
    return [text.decode() for text in cleaner(**changes).clean([text.encode() for text in texts])]


def test_every_setting_is_a_step_in_its_order() -> None:
    assert list(CleaningSettings.model_fields) == list(STEPS)
    assert list(cleaner(**ALL).changed) == list(STEPS)
    assert cleaner(**OFF).changed == {}


@given(st.lists(TEXT, max_size=5))
@settings(max_examples=300)
def test_the_defaults_equal_the_documentation_and_are_idempotent(texts: list[str]) -> None:
    cleaned = clean(*texts)
    assert cleaned == [plain_cleaning(text) for text in texts]
    assert clean(*cleaned) == cleaned


@given(st.lists(TEXT, max_size=5))
@settings(max_examples=300)
def test_all_steps_together_are_idempotent_and_give_utf8(texts: list[str]) -> None:
    cleaned = clean(*texts, **ALL)  # decodes strictly
    assert clean(*cleaned, **ALL) == cleaned


@pytest.mark.parametrize("name", STEPS)
@given(texts=st.lists(TEXT, max_size=5))
@settings(max_examples=150)
def test_a_batch_is_its_documents(name: str, texts: list[str]) -> None:
    """The tests that a whole batch has nothing to do, and work on one buffer, never miss or mix anything."""
    step = STEPS[name](CleaningSettings(**ALL))
    assert step is not None
    data = [text.encode() for text in texts]
    assert step.clean_batch(Texts(data)).texts == [step.clean(text) for text in data]


@given(st.lists(TEXT, max_size=4), st.sampled_from(list(STEPS)))
def test_changed_documents_are_counted_once(texts: list[str], name: str) -> None:
    only = {**OFF, name: ALL.get(name, True)}
    alone, data = cleaner(**only), [text.encode() for text in texts]
    cleaned = alone.clean(data)
    assert alone.changed == {name: sum(a != b for a, b in zip(cleaned, data, strict=True))}
    grouped = cleaner(**only)
    assert grouped.clean(data, owners=[7] * len(data)) == cleaned
    assert grouped.changed == {name: int(cleaned != data)}


@pytest.mark.parametrize(
    ("step", "before", "after"),
    [
        ("unify_newlines", "a\r\nb\rc", "a\nb\nc"),
        ("repair_c1_controls", "a\x85b\x96c\x81", "a…b–c\x81"),
        ("remove_control_characters", "a\x00b\x1b[0m\x85\tc\n", "ab[0m\tc\n"),
        ("remove_zero_width", "\ufeffa\u200bb\u200d c\u00ad", "ab c"),
        ("remove_zero_width", "👩\u200d💻 ❤\ufe0f\u200d🔥 می\u200cخواهم می\u200c\u200cخواهم\u200c क्\u200dष",
         "👩\u200d💻 ❤\ufe0f\u200d🔥 می\u200cخواهم می\u200cخواهم क्\u200dष"),
        ("replace_br_tags", "a<br />b<BR>c<br/>d<b>e", "a\nb\nc\nd<b>e"),
        ("unicode_form", "e\u0301 ﬁ Ａ", "é ﬁ Ａ"),
        ("collapse_blanks", "\n a \t\nb\n\n\n\nc\u3000", "a\nb\n\nc"),
        ("collapse_blanks", "\u3000\u00a0 a \u2028 b\n \u3000", "a \u2028 b"),
        ("decode_html_entities", "&lt;b&gt; &amp;amp;eacute; &#8217;&#x4e2d; ?a=1&copy=2 AT&T; &#xD800; &Bogus;",
         "<b> é ’中 ?a=1&copy=2 AT&T; \ufffd &Bogus;"),
        ("remove_html_tags", "a < b, <3, <name>, x<y<z; if a<b and c>d", "a < b, <3, <name>, x<y<z; if a<b and c>d"),
        ("remove_html_tags", "<p class='x > y'>one<br/>two <b>bold</B>&amp;</p ><td nowrap>cell<img src=a.png />",
         "\none\ntwo bold&amp;\n\ncell"),
        ("remove_html_tags", "a<!-- <b> -->b<script>if (a<b) x</script >c<style type=x>p{}</style>d<!doctype html>e",
         "abcde"),
        ("remove_html_tags", "<!-- never ends <b>x</b>", "<!-- never ends x"),
        ("repair_mojibake", "sÃ³ itâ€™s\nplain é", "só it’s\nplain é"),
    ],
)  # fmt: skip
def test_each_step_alone(step: str, before: str, after: str) -> None:
    only = {**OFF, step: "NFC" if step == "unicode_form" else True}
    run = cleaner(**only)
    assert run.clean([before.encode(), b"clean"]) == [after.encode(), b"clean"]
    assert run.changed == {step: int(before != after)}
    assert clean(before, **OFF) == [before]


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("url_mask", "see https://a.org/x_(y)?z=1. Or (www.b.com), HTTP://C.D/。www. x://y",
         "see *. Or (*), *。www. x://y"),
        ("url_mask", "访问https://例子.com/和https://a.cn/b，然后", "访问https://例子.com/和*，然后"),
        ("email_mask", "Mail a.b+c@x-y.co.uk, or <d@e.org>; not @handle, a@b, x@1.2",
         "Mail *, or <*>; not @handle, a@b, x@1.2"),
        ("ip_mask", "10.0.0.1, 256.1.1.1, 1.2.3.4.5, v1.2.3, [2001:db8::1] 12:30:45 std::begin fe80::1:2",
         "*, 256.1.1.1, 1.2.3.4.5, v1.2.3, [*] 12:30:45 std::begin *"),
    ],
)  # fmt: skip
def test_masks(setting: str, before: str, after: str) -> None:
    assert clean(before, **{**OFF, setting: "*"}) == [after]
    assert clean(before, **{**OFF, setting: r"\1"}) == [after.replace("*", r"\1")]


@pytest.mark.parametrize("value", ["http://x.org", "me@x.org", "127.0.0.1"])
def test_a_mask_that_is_an_address_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="would be masked again"):
        CleaningSettings(url_mask=value)


def test_what_one_step_reveals_the_others_see() -> None:
    changes = {"decode_html_entities": True, "remove_html_tags": True, "email_mask": "<email>", "unicode_form": "NFKC"}
    run = cleaner(**changes)
    text = "&amp;lt;p&amp;gt;x&#13;&#10;y ＜ｂ＞ me＠x．org"
    assert run.clean([text.encode()]) == [b"x\ny  <email>"]
    assert run.changed["decode_html_entities"] == run.changed["remove_html_tags"] == 1  # in two passes


@given(TEXT)
def test_white_space_against_regular_expressions(text: str) -> None:
    data = re.sub("[\x1c-\x1f]", "", text).encode()  # white space for Python, not for Unicode
    assert tidy_lines(data) == re.sub(rb"\n{3,}", b"\n\n", re.sub(rb"(?<![ \t])[ \t]+\n", b"\n", data))
    assert strip(data).decode() == data.decode().strip()


@pytest.mark.parametrize("blanks", [63, 64, 65, 200])
def test_long_runs_of_blanks(blanks: int) -> None:
    assert tidy_lines(b"a" + b" \t" * blanks + b"\n" * blanks + b"b") == b"a\n\nb"
    assert tidy_lines(b" " * blanks + b"\nx") == b"\nx"


def test_hostile_texts_take_no_square_time() -> None:
    """A few megabytes of what makes careless patterns quadratic; it would take hours."""
    hostile = ["<!--", "<script>", "<a href='", "<a ", "&amp;", "&#38;", "a@", "http:", ":", "1.", " ", "\u200d", "Ã "]
    for piece in [*hostile, "\u0300\u0316"]:
        cleaner(**ALL).clean([piece.encode() * 200_000])
    assert cleaner(**ALL).clean([b"&#x3" * 200_000 + b"8" + b";" * 200_000]) == [b"8"]
    blank = "\u2028".encode() * 2_000_000
    assert cleaner().clean([blank, b"x" + blank, blank + b"x", blank + b"x" + blank]) == [b"", b"x", b"x", b"x"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(_REFERENCES.split(" "))).map("".join))
def test_references_are_decoded_until_none_is_left(text: str) -> None:
    before, left = None, text
    while left != before:
        before, left = left, re.sub(r"&(?:(?:amp|AMP|#0*38|#[xX]0*26);)+", "&", left)
        known = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
        left = re.sub(known, lambda e: unescape(e[0]) if e[0][1] == "#" or e[0][1:] in html5 else e[0], left)
    assert DecodeHtmlEntities().clean(text.encode()).decode() == left


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@settings(deadline=None)
@given(st.lists(st.sampled_from(_MARKS)), st.integers(1, 40))
def test_long_runs_of_marks_are_brought_to_the_form_that_unicode_defines(
    form: Any, some: list[str], times: int
) -> None:
    text = "".join(some) * times
    assert UnicodeForm(form).clean(text.encode()).decode() == unicodedata.normalize(form, text)


@given(TEXT)
def test_the_smell_of_mojibake_misses_nothing_that_ftfy_would_look_at(text: str) -> None:
    from ftfy.badness import is_bad

    from pipeline.cleaning.mojibake import RepairMojibake

    assert RepairMojibake().needed(text.encode()) or not is_bad(text)


def test_mojibake_of_every_encoding_is_smelt() -> None:
    from ftfy.badness import MOJIBAKE_CATEGORIES, is_bad

    from pipeline.cleaning.mojibake import RepairMojibake

    members = [chr(c) for c in range(0x80, 0x10000) if re.match(f"[{''.join(MOJIBAKE_CATEGORIES.values())}]", chr(c))]
    step, found = RepairMojibake(), 0
    for first in [*members, "a", " ", "."]:
        for second in members:
            for text in (first + second, first + second + "x", "a " + first + second + " x", "ГўВ" + first + second):
                found += is_bad(text)
                assert step.needed(text.encode()) or not is_bad(text), text
    assert len(members) > 300 and found > 10_000


@given(TEXT, st.integers(1, 20), st.integers(0, 20) | st.none())
def test_length_filter(text: str, low: int, span: int | None) -> None:
    high = None if span is None else low + span
    reason = LengthFilter(low, high).judge(TextBatch([text.encode()])).dropped.get(0)
    length = len(text)
    if length < low:
        assert reason == ("too_short" if text else "empty")
    elif high is not None and length > high:
        assert reason == "too_long"
    else:
        assert reason is None


def test_settings_of_the_pipeline_reach_the_steps() -> None:
    config = PipelineConfig(unicode_form="none", replace_br_tags=False)
    assert "unicode_form" not in Cleaner(config).changed
    assert unicodedata.normalize("NFC", "e\u0301") != "e\u0301"
    assert Cleaner(config).clean(["e\u0301<br>".encode()]) == ["e\u0301<br>".encode()]
