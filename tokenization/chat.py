"""Chat templates: ours (ChatML), and rendering any model's in a sandbox that it can neither leave nor fill."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from foundation.errors import UserError
from tokenization.template_sandbox import Spent, TemplateSandbox

WIDEST = 16
"""Blanks in JSON that a template writes: an indentation, a separator."""

CHATML = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{ message['content'] | trim + '<|im_end|>' }}{%- endgeneration -%}"
    "{%- else -%}{{ message['content'] | trim + '<|im_end|>' }}{%- endif -%}"
    "{{ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)
"""The template that a dataset made from conversations carries with its tokenizer: ChatML (OpenAI 2023; Qwen's
form), contents trimmed so that no token spans the border between a role and a content. What a model learns to say, the
assistant's contents and the end of its turn, stands in a `generation` block, as `transformers`' masks want it."""


class _Generation(Extension):
    """`{% generation %} … {% endgeneration %}` marks what the assistant says; rendered, it is its content."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise UserError(f"the chat template refuses these messages: {message}")


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Plain JSON; jinja's own filter escapes it for HTML."""
    wide = [indent or 0, *(len(text) for text in options.get("separators") or ())]
    if options.keys() - {"separators", "sort_keys"} or max(wide) > WIDEST:
        raise UserError("the chat template wants JSON with other blanks than people use")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def render_chat(
    messages: Sequence[Mapping[str, str]], template: str, add_generation_prompt: bool = True, **tokens: str
) -> str:
    """The prompt text of `messages` ({"role", "content"} each), with the conventions of `transformers`' templates.

    Raises `UserError` for a template that fails or reaches outside the sandbox.
    """
    environment = TemplateSandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
    environment.offer("tojson", _tojson)
    values = {"messages": list(messages), "tools": None, "documents": None, **tokens}
    try:
        return environment.rendered(template, {"add_generation_prompt": add_generation_prompt, **values})
    except UserError:
        raise
    except (Exception, Spent) as error:  # a template's own arithmetic, its endless range: Python raises what it likes
        raise UserError(f"the model's chat template cannot be used: {error}") from None
