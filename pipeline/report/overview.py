"""The top of the page: the figures that matter, what became of the records, and where they came from."""

from __future__ import annotations

from typing import Any

from foundation.page import html
from foundation.page.wording import escape, integer, percent, plural, short, size, words
from pipeline.report.flow import Branch, draw_flow, largest
from shards.manifest import SPLITS

OUTCOMES = {"kept": "Kept", "duplicate": "Duplicates", "rejected": "Rejected", "quarantined": "Unreadable"}
"""Accounts and what people call them."""
REASONS_DRAWN = 8
SOURCES_SHOWN = 12
SOURCES_LISTED = 500
REASONS_SHOWN = 12
REASONS_LISTED = 400
RECORD_HEAD = ("", "", ">records", ">share", ">text read", ">tokens")


def headline(name: str, stats: dict[str, Any], facts_line: str) -> str:
    """Title, one sentence, and the large figures."""
    accounts, total = stats["accounts"], totals(stats)
    read, kept = accounts["read"]["records"], accounts["kept"]["records"]
    others = [
        f"{integer(accounts[key]['records'])} {what}"
        for key, what in (("duplicate", "duplicates"), ("rejected", "rejected"), ("quarantined", "unreadable"))
        if accounts[key]["records"]
    ]
    rest = f" The rest: {', '.join(others)}." if others else ""
    sentence = (
        f"{plural(read, 'record')} read, {f'{integer(kept)} kept ({percent(kept, read)})' if rest else 'all kept'}:"
        f" {short(total['tokens'])} tokens from {size(total['text_bytes'])} of text.{rest}"
    )
    vocabulary = stats["vocabulary"]
    figures = [
        (short(total["documents"]), "documents"),
        (short(total["tokens"]), "tokens"),
        (size(total["text_bytes"]), "of text"),
        (_ratio(total["text_bytes"], total["tokens"]), "bytes per token"),
        (percent(vocabulary["used"], vocabulary["size"]), f"of {integer(vocabulary['size'])} tokens used"),
    ]
    characters = stats["characters"]["characters_per_token"]
    if characters:
        figures.insert(4, (f"{characters:.2f}", "characters per token"))
    tiles = "".join(html.tile(value, label) for value, label in figures)
    return (
        f'<p class="over">{escape(facts_line)}</p><h1>{escape(name)}</h1><p class="lead">{escape(sentence)}</p>'
        f'<div class="tiles">{tiles}</div>'
    )


def totals(stats: dict[str, Any]) -> dict[str, int]:
    """Documents, tokens and bytes of text over all splits."""
    return {key: sum(split[key] for split in stats["splits"].values()) for key in ("documents", "tokens", "text_bytes")}


def _ratio(over: float, under: float) -> str:
    return f"{over / under:.2f}" if under else "–"


def records(stats: dict[str, Any]) -> str:
    """The flow drawing, the stacked bar and the table of outcomes with their reasons."""
    accounts = stats["accounts"]
    read = accounts["read"]
    branches = [Branch(key, label, accounts[key]["records"], _parts(key, stats)) for key, label in OUTCOMES.items()]
    bar = html.stack((b.name, b.records, f"{b.label}: {integer(b.records)}") for b in branches)
    flow = draw_flow(read["records"], branches)
    rows, folded = [], ""
    for branch in branches:
        account = accounts[branch.name]
        rows.append(_account_row(branch.label, account, read["records"], key=branch.name))
        reasons = sorted(account.get("reasons", {}).items(), key=lambda item: (-item[1]["records"], item[0]))
        entries = [_account_row(words(k), v, read["records"], branch.name) for k, v in reasons[:REASONS_LISTED]]
        shown = len(entries) if len(entries) <= REASONS_SHOWN + 3 else REASONS_SHOWN
        rows += entries[:shown]
        folded += _folded(f"{branch.label.lower()}: {integer(len(entries) - shown)} more reasons", entries[shown:])
    rows.append(_account_row("Read", read, read["records"]))
    table = html.table(RECORD_HEAD, rows) + folded
    drawn = f'<div class="wide">{flow}</div><div class="narrow">{bar}</div>'
    return html.section("What became of the records", drawn + table)


def _folded(label: str, rows: list[str]) -> str:
    return html.details(label, html.table(RECORD_HEAD, rows)) if rows else ""


def _account_row(name: str, account: dict[str, Any], whole: int, kind: str = "", key: str = "") -> str:
    tokens = account.get("tokens")
    return html.row(
        name,
        html.meter(account["records"], whole, key or kind or "read"),
        integer(account["records"]),
        percent(account["records"], whole),
        size(account["bytes"]),
        "" if tokens is None else short(tokens),
        kind="sub" if kind else "",
        key=key,
    )


def _parts(outcome: str, stats: dict[str, Any]) -> list[tuple[str, int]]:
    """What the outcome divides into, for the drawing."""
    account = stats["accounts"][outcome]
    if outcome != "kept":
        parts = {words(k): v["records"] for k, v in account["reasons"].items()}
        return largest(parts, REASONS_DRAWN, "reasons")
    return [(split, stats["splits"][split]["records"]) for split in SPLITS if stats["splits"][split]["records"]]


def sources(stats: dict[str, Any]) -> str:
    """A row for each input; of many inputs the largest ones, the others folded away."""
    entries = sorted(stats["sources"].items(), key=lambda item: -item[1]["read"]["records"])
    if not entries:
        return ""
    head = ["source", "kept", ">records", ">kept", ">tokens", ">bytes/token", ">median tokens"]
    shown = entries if len(entries) <= SOURCES_SHOWN + 3 else entries[:SOURCES_SHOWN]
    body = html.table(head, [_source_row(name, entry) for name, entry in shown])
    rest = entries[len(shown) :]
    if rest:
        listed = html.table(head, [_source_row(name, entry) for name, entry in rest[:SOURCES_LISTED]])
        more = f"{integer(len(rest) - SOURCES_LISTED)} more are in stats.json" if len(rest) > SOURCES_LISTED else ""
        number = sum(entry["read"]["records"] for _, entry in rest)
        label = f"{integer(len(rest))} smaller sources with {plural(number, 'record')} in all"
        body += html.details(label, listed + (f'<p class="note">{more}</p>' if more else ""))
    damaged = "".join(
        f'<p class="note">{escape(name)}: damaged, read up to the damage ({escape(why)})</p>'
        for name, why in list(stats["damaged_inputs"].items())[:50]
    )
    return html.section("Sources" if len(entries) > 1 else "Source", body + damaged)


def _source_row(name: str, entry: dict[str, Any]) -> str:
    read, kept = entry["read"]["records"], entry["kept"]["records"]
    parts = [
        (key, entry[key]["records"], f"{what}: {integer(entry[key]['records'])}") for key, what in OUTCOMES.items()
    ]
    return html.row(
        name,
        html.stack(parts),
        integer(read),
        percent(kept, read),
        short(entry["kept"]["tokens"]),
        f"{entry['bytes_per_token']:.2f}" if entry["bytes_per_token"] else "–",
        integer(entry["document_tokens"]["p50"]) if entry["document_tokens"] else "–",
    )
