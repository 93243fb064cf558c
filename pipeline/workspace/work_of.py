"""The work area of a place: on the local or a shared file system, or at a URL."""

from __future__ import annotations

from typing import Any

from pipeline.workspace.area import WHOLE, Work
from pipeline.workspace.place import Place
from pipeline.workspace.remote import RemoteWork


def work_of(place: Place, settings: dict[str, Any], name: str = WHOLE) -> Work:
    """The work of one dataset under these settings; see `Work`."""
    kind = Work if place.work_url is None else RemoteWork
    return kind(place, settings, name)
