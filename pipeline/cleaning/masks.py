"""Addresses that say who or where: URLs, e-mail addresses, IP addresses, each replaced by a fixed text."""

from __future__ import annotations

import ipaddress
import re

from pipeline.cleaning.base import TextStep

# RFC 3986 in ASCII, so that Chinese text after an address stays; punctuation at its end belongs to the sentence.
_URL = re.compile(
    rb"(?<![a-z0-9])(?:https?://|ftp://|www\.(?=[a-z0-9]))"
    rb"[a-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*[a-z0-9\-_~/#@$&*+=%]",
    re.IGNORECASE,
)
# The common part of RFC 5321: a dotted name of at most 64 characters, a domain of dotted labels.
_EMAIL = re.compile(
    rb"(?<![a-z0-9!#$%&'*+/=?^_`{|}~.-])[a-z0-9!#$%&'*+/=?^_`{|}~-][a-z0-9!#$%&'*+/=?^_`{|}~.-]{0,63}+"
    rb"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,8}[a-z]{2,24}(?![a-z0-9-])",
    re.IGNORECASE,
)
_IPV4 = re.compile(rb"(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9]|\.[0-9])")
_IPV6 = re.compile(rb"(?<![0-9a-z:.])(?=[0-9a-f]{0,4}:)[0-9a-f:]{4,39}(?![0-9a-z:])", re.IGNORECASE)


class _Mask(TextStep):
    """Replaces what `pattern` finds and `is_address` confirms."""

    def __init__(self, replacement: str) -> None:
        self._replacement = replacement.encode()

    @staticmethod
    def _sub(pattern: re.Pattern[bytes], replacement: bytes, text: bytes) -> bytes:
        return pattern.sub(lambda _: replacement, text)  # a function: the replacement may hold a backslash


class MaskUrls(_Mask):
    """http, https and ftp addresses, and names that begin with `www.`."""

    name = "url_mask"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return b"://" in buffer or b"www." in buffer.lower()

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return self._sub(_URL, self._replacement, text)


class MaskEmails(_Mask):
    """E-mail addresses."""

    name = "email_mask"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return b"@" in buffer

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return self._sub(_EMAIL, self._replacement, text)


class MaskIps(_Mask):
    """IPv4 addresses, and IPv6 addresses of at least three groups (`std::begin` and `12:30:45` are none)."""

    name = "ip_mask"

    def needed(self, buffer: bytes) -> bool:
        """See `TextStep.needed`."""
        return _IPV4.search(buffer) is not None or _IPV6.search(buffer) is not None

    def clean(self, text: bytes) -> bytes:
        """See `Step.clean`."""
        return _IPV4.sub(self._checked, _IPV6.sub(self._checked, text))

    def _checked(self, found: re.Match[bytes]) -> bytes:
        address = found[0].decode()
        try:
            if "." in address:
                ipaddress.IPv4Address(address)
            else:
                ipaddress.IPv6Address(address)
        except ValueError:
            return found[0]
        groups = [group for group in address.split(":") if group]
        return self._replacement if "." in address or len(groups) >= 3 else found[0]


def holds_address(text: str) -> bool:
    """Whether `text` holds what one of these steps would replace."""
    data = text.encode()
    return any(step("").clean(data) != data for step in (MaskUrls, MaskEmails, MaskIps))
