"""Clean conversations: each content by itself, so that no step reaches from one turn into the next."""

from __future__ import annotations

from pipeline.cleaning.cleaner import Cleaner
from pipeline.sources.base import Conversation


def clean_conversations(
    cleaner: Cleaner, texts: list[bytes], conversations: list[Conversation]
) -> tuple[list[bytes], list[Conversation]]:
    """Each content of the conversations cleaned by itself, and the texts that they then make; the empty conversation
    stands for a plain text."""
    contents = [[content for _, content in talk] or [text] for talk, text in zip(conversations, texts, strict=True)]
    owners = [place for place, parts in enumerate(contents) for _ in parts]
    cleaned = iter(cleaner.clean([part for parts in contents for part in parts], owners))
    again = [[next(cleaned) for _ in parts] for parts in contents]
    talks = [
        tuple((role, part) for (role, _), part in zip(talk, parts, strict=True)) if talk else ()
        for talk, parts in zip(conversations, again, strict=True)
    ]
    return [b"\n".join(parts) for parts in again], talks
