"""Stop strings, against the plain rule over the whole text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from generation.stops import StopStrings

LETTERS = "ab🙂"


def _plainly(text: str, stops: list[str]) -> str:
    """Up to the stop string that is complete first, and of several the longest."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return text


@given(
    pieces=st.lists(st.text(LETTERS, max_size=5), max_size=12),
    stops=st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4),
)
def test_however_the_text_is_cut(pieces: list[str], stops: list[str]) -> None:
    own = StopStrings(stops)
    shown = ""
    for piece in pieces:
        before = shown
        shown += own.push(piece)
        assert _plainly("".join(pieces), stops).startswith(shown)  # nothing is shown that a stop string takes back
        assert not own.stopped or shown.startswith(before)
    shown += own.finish()
    assert shown == _plainly("".join(pieces), stops)
    assert own.stopped == any(stop in "".join(pieces) for stop in stops)


def test_text_is_held_back_no_longer_than_it_is_undecided() -> None:
    own = StopStrings(["###", "\n\nQ:"])
    assert [own.push(piece) for piece in ["a#", "#b", "\n", "\n", "Q", "x", "#", "##c", "d"]] == [
        "a", "##b", "", "", "", "\n\nQx", "", "", ""
    ]  # fmt: skip
    assert own.stopped and own.finish() == ""
    own = StopStrings(["end"])
    assert own.push("the en") == "the " and own.finish() == "en"
