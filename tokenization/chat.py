"""Render chat messages through a model's Jinja template, in a sandbox that executes nothing of the template's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from jinja2.sandbox import ImmutableSandboxedEnvironment

from foundation.errors import UserError


def _raise(message: str) -> NoReturn:
    raise UserError(f"the chat template refuses these messages: {message}")


def render_chat(
    messages: Sequence[Mapping[str, str]], template: str, add_generation_prompt: bool = True, **tokens: str
) -> str:
    """The prompt text of `messages` ({"role", "content"} each), with the conventions of `transformers`' templates.

    Raises `UserError` for a template that fails or reaches outside the sandbox.
    """
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _raise
    try:
        return environment.from_string(template).render(
            messages=list(messages), add_generation_prompt=add_generation_prompt, **tokens
        )
    except UserError:
        raise
    except Exception as error:  # a template's own arithmetic, its endless range: Python raises what it likes
        raise UserError(f"the model's chat template cannot be used: {error}") from None
