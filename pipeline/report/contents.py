"""The middle of the page: what the documents, the tokens and the characters are like."""

from __future__ import annotations

from typing import Any

from foundation.page import html
from foundation.page.wording import escape, integer, percent, plural, short, size, token_text, words
from pipeline.report.charts import length_histogram, rank_plot
from pipeline.statistics.vocabulary import RARE

TOKENS_SHOWN = 60
LABELS_SHOWN = 20
NAMED_RANKS = (1, 10, 30, 100)
QUANTILES = (("p0", "shortest"), ("p5", "5%"), ("p25", "25%"), ("p50", "median"), ("p75", "75%"), ("p95", "95%"),
             ("p100", "longest"))  # fmt: skip
MARKS = {"p5": "5%", "p50": "median", "p95": "95%"}


def lengths(stats: dict[str, Any]) -> str:
    """Histogram of the documents' lengths over all splits."""
    counts: list[int] = []
    for split in stats["splits"].values():
        found = split["document_tokens_histogram"]
        counts += [0] * (len(found) - len(counts))
        counts[: len(found)] = [a + b for a, b in zip(counts, found, strict=False)]
    largest = max(stats["splits"].values(), key=lambda split: split["documents"])["document_tokens"]
    if not counts or not largest:
        return ""
    marks = {label: largest[key] for key, label in MARKS.items()}
    plot = length_histogram(stats["histogram_edges"], counts, marks, "tokens")
    return html.section("Length of documents", plot, "In tokens, terminators included.")


def splits(stats: dict[str, Any]) -> str:
    """A row for each split: what it holds, and the quantiles of its documents' lengths."""
    rows = [
        html.row(name, integer(split["documents"]), short(split["tokens"]), size(split["text_bytes"]),
                 f"{split['bytes_per_token']:.2f}", *(integer(split["document_tokens"][key]) for key, _ in QUANTILES))
        for name, split in stats["splits"].items() if split["document_tokens"]
    ]  # fmt: skip
    head = ["", ">documents", ">tokens", ">text", ">bytes/token", *(f">{label}" for _, label in QUANTILES)]
    return html.section("Splits", html.table(head, rows) if rows else "", "The quantiles are of tokens in a document.")


def ranks(vocabulary: dict[str, Any]) -> str:
    """The rank plot with what it says about coverage."""
    points = vocabulary["occurrences_by_rank"]
    if not points:
        return ""
    listed = vocabulary["most_frequent"]
    worded = [r for r, _ in points if r <= len(listed) and any(c.isalpha() for c in listed[r - 1]["text"] or "")]
    chosen = {min(worded, key=lambda rank: abs(rank - place)) for place in NAMED_RANKS if worded}
    names = {rank: _name(listed[rank - 1]) for rank in sorted(chosen)}
    cover = {f"{share} of the text": rank for share, rank in vocabulary["tokens_that_cover"].items()}
    said = ", ".join(f"{integer(rank)} make {share}" for share, rank in vocabulary["tokens_that_cover"].items())
    plot = rank_plot([(rank, count) for rank, count in points], names, cover)
    return html.section("Frequency of tokens", plot, f"Of the text's tokens, the most frequent {said}." if said else "")


def usage(vocabulary: dict[str, Any]) -> str:
    """How much of the vocabulary occurs, and how often the unknown token does."""
    rare = vocabulary[f"used_fewer_than_{RARE}_times"]
    used, whole = vocabulary["used"], vocabulary["size"]
    groups = [
        (f"used {RARE} times or more", used - rare, "accent"),
        (f"used 1 to {RARE - 1} times", rare, "c3"),
        ("never used", whole - used, "c7"),
    ]
    rows = [
        html.row(name, html.meter(number, whole, kind), integer(number), percent(number, whole), key=kind)
        for name, number, kind in groups
    ]
    note = f"{integer(whole)} tokens in the vocabulary."
    unknown, rate = vocabulary["unknown_tokens"], vocabulary["unknown_rate"]
    if unknown is not None:
        note += f" Unknown token: {integer(unknown)} times, {100 * rate:.3g}% of the text."
    bar = html.stack((kind, number, f"{name}: {integer(number)}") for name, number, kind in groups)
    return html.section("Vocabulary", bar + html.table(["", "", ">tokens", ">share"], rows), note)


def frequent(vocabulary: dict[str, Any], tokens: int) -> str:
    """The most frequent tokens."""
    cells = "".join(
        f'<div><span class="rank">{rank}</span><code>{escape(_name(token))}</code>'
        f'<span class="soft" title="{integer(token["count"])} times">{percent(token["count"], tokens)}</span></div>'
        for rank, token in enumerate(vocabulary["most_frequent"][:TOKENS_SHOWN], 1)
    )
    note = "Blanks are drawn: ␣ space, ⏎ line end, ⇥ tab. ⟨⟩ holds a part of a character, as the vocabulary names it."
    return html.section("Most frequent tokens", f'<div class="tokens">{cells}</div>' if cells else "", note)


def _name(token: dict[str, Any]) -> str:
    """What a token is called: its text with drawn blanks; a piece of a character by its name in the vocabulary."""
    return token_text(token["text"]) if token["text"] else f"⟨{token['token']}⟩"


def scripts(characters: dict[str, Any]) -> str:
    """Shares of the writing systems."""
    shares = sorted(characters["script_shares"].items(), key=lambda item: -item[1])
    if not shares:
        return ""
    most = shares[0][1]
    rows = [
        html.row(words(name).capitalize(), html.meter(share, most, kind), percent(share, 1), key=kind)
        for name, share, kind in _coloured(shares)
    ]
    bar = html.stack((kind, share, f"{name} {percent(share, 1)}") for name, share, kind in _coloured(shares))
    note = (
        f"Of {short(characters['sampled_characters'])} characters in"
        f" {plural(characters['sampled_documents'], 'document')} drawn by their content, without white space"
        f" ({percent(characters['white_space_share'], 1)} of all)."
    )
    return html.section("Writing systems", bar + html.table(["", "", ">share"], rows), note)


def _coloured(entries: list[tuple[str, float]]) -> list[tuple[str, float, str]]:
    return [(name, value, html.colour(place)) for place, (name, value) in enumerate(entries)]


def labels(stats: dict[str, Any], names: list[str]) -> str:
    """Documents of each label, the most frequent ones; `names` of the labels by number, as far as there are any."""
    entries = sorted(stats["labels"].items(), key=lambda item: -item[1])
    if not entries:
        return ""
    whole, most = sum(count for _, count in entries), entries[0][1]
    rows = [
        html.row(_label(int(label), names), html.meter(count, most), integer(count), percent(count, whole))
        for label, count in sorted(entries[:LABELS_SHOWN], key=lambda item: int(item[0]))
    ]
    note = f"The {LABELS_SHOWN} most frequent of {integer(len(entries))} labels." if len(entries) > LABELS_SHOWN else ""
    return html.section("Labels", html.table(["", "", ">documents", ">share"], rows), note)


def _label(number: int, names: list[str]) -> str:
    return f"{number} {names[number]}" if number < len(names) else f"label {number}"


def cleaning(stats: dict[str, Any]) -> str:
    """How many documents each cleaning step changed."""
    whole = stats["accounts"]["read"]["records"]
    steps = stats["documents_changed_by_cleaning"]
    rows = [
        html.row(words(step), html.meter(changed, whole), integer(changed), percent(changed, whole))
        for step, changed in steps.items()
    ]
    return html.section("Cleaning", html.table(["step", "", ">documents changed", ">share"], rows) if rows else "")
