"""Templates that make much of little: refused before it is made."""

from __future__ import annotations

import tracemalloc

import pytest

from foundation.errors import UserError
from tokenization.chat import render_chat

NESTED = "".join(f"{{% set n{place + 1} = namespace(p=n{place}, q=n{place}) %}}" for place in range(10))
SHARED = "".join(f"{{% set l{place + 1} = [l{place}, l{place}] %}}" for place in range(18))
LARGE = {
    "keys of dictionaries": "{% set s = 'x' * 30000 %}{{ [{s: 1}] * 10000 }}",
    "joined": "{% set s = 'x' * 30000 %}{{ '' ~ [{s: 1}] * 10000 }}",
    "percent": "{% set s = 'x' * 3000 %}{{ ('%(a)s' * 100000) % {'a': s} }}",
    "precision": "{{ ('%(a).3000f' * 100000) % {'a': 1.5} }}",
    "format": "{% set s = 'x' * 30000 %}{{ ('{0}' * 10000).format(s) }}",
    "format_map": "{% set s = 'x' * 30000 %}{{ ('{a}' * 10000).format_map({'a': s}) }}",
    "width": "{{ ('{0:9000}' * 10000).format(1) }}",
    "numbers": "{{ [2 ** 2000] * 200000 }}",
    "json": "{% set s = 'x' * 300 %}{% set l0 = [s] %}" + SHARED + "{{ l18 | tojson }}",
}


def peak(template: str) -> int:
    """The most bytes that rendering `template` took at a time."""
    render_chat([], "{{ 'x' }}", False)  # what rendering loads once is not counted
    tracemalloc.start()
    try:
        render_chat([], template, False)
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("template", LARGE.values(), ids=list(LARGE))
def test_what_would_be_large_is_refused_before_it_is_made(template: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"more text than a chat has|runs too long"):
            render_chat([], template, False)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


def test_a_namespace_shows_nothing_of_what_it_holds() -> None:
    template = "{% set s = 'x' * 300000 %}{% set n0 = namespace(x=s) %}" + NESTED + "{{ n10 }} {{ n1.p.x | length }}"
    assert render_chat([], template, False) == "<namespace> 300000"
    assert peak(template) < 30e6


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ '%05d|%-7s|%.2f' % (42, 'ab', 1.5) }}", "00042|ab     |1.50"),
        ("{{ '{:>6}|{name}'.format(3, name='x') }}", "     3|x"),
        ("{{ [1, 'a', {'b': none}] }}", "[1, 'a', {'b': None}]"),
        ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "10"),
        ("{{ missing }}{{ messages | length }}{{ 'a' ~ 1 ~ [2] }}", "0a1[2]"),
    ],
)
def test_what_templates_usually_do_is_as_ever(template: str, text: str) -> None:
    assert render_chat([], template, False) == text
