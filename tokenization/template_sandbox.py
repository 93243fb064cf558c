"""A sandbox for templates that strangers wrote: no way out of it, no endless loop, no endless text.

jinja's own sandbox keeps a template from Python's insides, but not from running for ever or filling the memory. Here a
rendering has a budget of steps and one of characters; what can grow by much at once is asked before it grows.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import do_indent, make_attrgetter
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

STEPS = 1_000_000
"""Lines of Python that a rendering may run, about a second; 100 messages take some thousand."""
CHARACTERS = 2**26
"""Characters (and eight for an entry of a list) that all results of a rendering may have together."""
LONGEST = 2**20
"""Characters of a template."""
BITS = 4096
"""Of the longest whole number."""

FILTERS = frozenset({
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby",
    "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "title",
    "tojson", "trim", "unique", "upper",
})  # fmt: skip
METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "format", "format_map", "index", "isalnum", "isalpha",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})  # fmt: skip
"""What chat templates ask of filters and of texts. The rest of jinja and of `str` is mostly ways to pad."""
HANDED = ("_loop_vars", "_block_vars")
"""What jinja adds to every call inside of a loop or a block."""
WIDE = re.compile(r"\d{6}|\*|:[^}]*\{")
"""A width in a format that is large, or not in the format itself."""


class Spent(BaseException):
    """The budget of steps is used up. No `except Exception` on the way may stop it."""


class _Calls(NodeTransformer):
    """Makes calls, which are counted, of `a ~ b` and of lists and dictionaries that a template writes."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        return self._call("joined", nodes.List([self.visit(piece) for piece in node.nodes]))

    def visit_List(self, node: nodes.Expr) -> nodes.Node:
        return self._call("as_it_is", self.generic_visit(node))

    visit_Dict = visit_List

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self.visit_List(node) if node.ctx == "load" else self.generic_visit(node)

    def _call(self, name: str, argument: nodes.Node) -> nodes.Node:
        return nodes.Call(nodes.EnvironmentAttribute(name), [argument], [], None, None)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """An environment for one rendering (`rendered`)."""

    intercepted_binops = frozenset({"+", "-", "*", "**", "%", "//"})

    def __init__(self, **options: Any) -> None:
        # Nothing is computed while a template is compiled: only its rendering is watched.
        super().__init__(optimized=False, finalize=self._shown, **options)
        self._left = CHARACTERS
        del self.globals["lipsum"]
        self.globals["namespace"] = _Namespace
        self.concat = self.joined  # type: ignore[method-assign]  # what blocks and macros put their pieces together with
        self.filters |= {"join": self._join, "replace": self._replace, "indent": self._indent}
        self.filters = {name: self._counted(self.filters[name]) for name in FILTERS}

    def offer(self, name: str, filter_: Callable[..., Any]) -> None:
        """Add a filter, or replace one."""
        self.filters[name] = self._counted(filter_)

    def rendered(self, source: str, values: dict[str, Any]) -> str:
        """The text that the template `source` makes of `values`.

        Raises what the template raises: jinja's errors, Python's own, `SecurityError` and `Spent`.
        """
        if len(source) > LONGEST:
            raise SecurityError(f"it is longer than {LONGEST} characters")
        template = self.from_string(source)
        with _limited_steps():
            return self.joined(template.generate(values))

    def joined(self, pieces: Iterable[Any]) -> str:
        """The pieces as one text."""
        found = []
        for piece in pieces:
            found.append(str(self._shown(piece)))
            self.spend(len(found[-1]))
        return "".join(found)

    def _shown(self, value: Any) -> Any:
        """A value that becomes text, counted before it does."""
        if not isinstance(value, str):
            self.spend(_size(value))
        return value

    def as_it_is(self, value: Any) -> Any:
        """A list or dictionary of a template (see `call`)."""
        return value

    def spend(self, characters: int) -> None:
        """Take from the budget."""
        self._left -= characters
        if self._left < 0:
            raise SecurityError("it makes more text than a chat has")

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a function or a method for a template; arguments and result are counted."""
        own = {name: value for name, value in kwargs.items() if name not in HANDED}
        self.spend(_size(args) + _size(own))
        method = getattr(obj, "__wrapped__", obj)  # jinja wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, int | float) or (isinstance(owner, str) and name not in METHODS):
            raise SecurityError(f"it calls {type(owner).__name__}.{name}")
        if isinstance(owner, str):
            if name in ("format", "format_map") and WIDE.search(owner):
                raise SecurityError("it formats to a large width")
            if name in ("format", "format_map"):
                self.spend(_formatted(owner, "{", args, kwargs))
            if name == "join":
                return self._put_between(owner, *args)
            if name == "replace":
                return self._replace(owner, *args, **own)
        return self._count(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` for a template."""
        if operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if isinstance(sequence, str | list | tuple) and isinstance(times, int):
                    self.spend(_size(sequence) * max(times, 0))
        elif operator == "%" and isinstance(left, str):
            if WIDE.search(left):
                raise SecurityError("it formats to a large width")
            self.spend(_formatted(left, "%", right))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * max(right, 0))
        return self._count(super().call_binop(context, operator, left, right))

    def _counted(self, filter_: Callable[..., Any]) -> Callable[..., Any]:
        """`filter_` with what it is given and what it gives counted."""

        @functools.wraps(filter_)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.spend(_size(args))
            return self._count(filter_(*args, **kwargs))

        return call

    def _count(self, result: Any) -> Any:
        if isinstance(result, int) and not isinstance(result, bool):
            _check_bits(result.bit_length())
        self.spend(_size(result))
        return result

    def _join(self, value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        """jinja's filter."""
        entries = value if attribute is None else map(make_attrgetter(self, attribute), value)
        return self._put_between(d, entries)

    def _put_between(self, between: str, entries: Iterable[Any]) -> str:
        """`str.join`, of entries that become text."""
        texts = [str(self._shown(entry)) for entry in entries]
        self.spend(sum(map(len, texts)) + len(between) * len(texts))
        return between.join(texts)

    def _replace(self, text: Any, old: str, new: str, count: int | None = None) -> str:
        """jinja's filter, and `str.replace`."""
        text, old, new = str(text), str(old), str(new)
        count = -1 if count is None else count
        found = text.count(old)
        self.spend(len(text) + (found if count < 0 else min(found, count)) * len(new))
        replaced: str = text.replace(old, new, count)
        return replaced

    def _indent(self, text: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        """jinja's filter."""
        text = str(text)
        self.spend(len(text) + (text.count("\n") + 1) * (len(width) if isinstance(width, str) else width))
        indented: str = do_indent(text, width, first, blank)
        return indented

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Calls().visit(source), *args, **kwargs)


class _Namespace(Namespace):
    """jinja's, which would show all that it holds."""

    def __repr__(self) -> str:
        return "<namespace>"


@contextmanager
def _limited_steps() -> Iterator[None]:
    """Inside, Python runs STEPS lines at most in the functions that are called: loops of templates are loops of
    Python. `Spent` beyond."""
    left = STEPS

    def watch(frame: Any, event: str, value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Spent("it runs too long")
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        yield
    finally:
        sys.settrace(before)


def _check_bits(bits: int) -> None:
    if bits > BITS:
        raise SecurityError(f"it computes numbers of more than {BITS} bits")


def _size(value: Any) -> int:
    """Characters of a text, digits of a whole number, eight for each entry of a list or a dictionary; a list that holds
    another twice holds its entries twice, as it would when it is shown."""
    size, left = 0, [value]
    while left and size <= CHARACTERS:
        some = left.pop()
        if isinstance(some, str):
            size += len(some)
        elif isinstance(some, list | tuple | dict):
            size += 8 * len(some)
            left += (*some, *some.values()) if isinstance(some, dict) else some
        elif isinstance(some, int):
            size += some.bit_length() // 3
    return size


def _formatted(form: str, mark: str, *values: Any) -> int:
    """The most characters that formatting `values` gives, where each `mark` may stand for all of them."""
    widths = sum(int(number) for number in re.findall("[0-9]+", form))  # of five digits at most each
    return form.count(mark) * _size(values) + widths
