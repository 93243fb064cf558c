"""What clients may send: the fields of OpenAI's chat and text completions, and the sampling options of our own.

Source: platform.openai.com/docs/api-reference/chat and /completions. Types are strict (no number in quotes), null is
as if a field were not there, and what this server cannot do is refused by name instead of being overlooked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from foundation.errors import did_you_mean
from generation.config import HOTTEST, LEAST_REPETITION, MOST_REPETITION
from generation.prompts import is_text
from generation.serving.errors import ApiError

MOST_CHOICES = 16
MOST_STOPS = 16
MOST_MESSAGES, MOST_PROMPTS = 2048, 1024
MOST_TOP_LOGPROBS = 20
DEPTH = 5  # body, messages, message, content, part

NOT_SERVED: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "metadata": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Fields of OpenAI's that mean nothing here, and the values that ask for nothing."""


def _text(value: str) -> str:
    if not is_text(value):
        raise ValueError("holds half of a surrogate pair; send whole characters")
    return value


Text = Annotated[str, AfterValidator(_text)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class StreamOptions(_Body):
    """What a stream carries besides the text."""

    include_usage: bool = False


class Options(_Body):
    """The fields that both kinds of completions share."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    max_tokens: int | None = Field(default=None, ge=1)
    stop: list[Text] | None = Field(default=None, max_length=MOST_STOPS)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    temperature: float | None = Field(default=None, ge=0, le=HOTTEST)
    top_p: float | None = Field(default=None, gt=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    user: Text | None = None  # who asks, for the server's owner; no part of the answer
    # our own, with the names and meanings of the section `generation`
    preset: Literal["creative", "chat", "factual"] | None = None
    do_sample: bool | None = None
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=LEAST_REPETITION, le=MOST_REPETITION)
    no_repeat_ngram_size: int | None = Field(default=None, ge=0, lt=2**31)

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("stop")
    @classmethod
    def _no_empty_stop(cls, value: list[str] | None) -> list[str] | None:
        if value and "" in value:
            raise ValueError("an empty text stops nothing; leave it out")
        return value


class Part(_Body):
    """A piece of a message. Only text is understood."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Body):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part]

    @field_validator("content", mode="before")
    @classmethod
    def _parts(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [{"type": "text", "text": value}]
        if not isinstance(value, list):
            raise ValueError('must be a text or a list of {"type": "text", "text": "…"}')
        return value

    def plain(self) -> dict[str, str]:
        """As the chat template takes it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": "\n".join(part.text for part in self.content)}


class ChatBody(Options):
    """POST /v1/chat/completions"""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)


class TextBody(Options):
    """POST /v1/completions"""

    prompt: list[Text] = Field(min_length=1, max_length=MOST_PROMPTS)
    logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)

    @field_validator("prompt", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("must be a text or a list of texts; token ids are not taken")
        return texts


B = TypeVar("B", bound=Options)


def parse(kind: type[B], body: dict[str, Any]) -> B:
    """The body as a `kind`; `ApiError` 400 names the first field that is wrong, and how."""
    given = _without_null(body)
    for name, idle in NOT_SERVED.items():
        if name in given and name not in kind.model_fields and given.pop(name) not in idle:
            raise ApiError(400, f"{name}: this server does not do that; leave it out", param=name, code="unsupported")
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _told(kind, error) from None


def _without_null(value: Any, depth: int = 0) -> Any:
    """OpenAI's clients send back what they got, and that has nulls for all that is not there."""
    if isinstance(value, dict) and depth < DEPTH:
        return {key: _without_null(item, depth + 1) for key, item in value.items() if item is not None}
    if isinstance(value, list) and depth < DEPTH:
        return [_without_null(item, depth + 1) for item in value]
    return value


def _told(kind: type[Options], error: ValidationError) -> ApiError:
    first = error.errors()[0]
    place = [str(step) for step in first["loc"]]
    where = ".".join(place) or "the body"
    if first["type"] == "extra_forbidden":
        hint = did_you_mean(place[-1], kind.model_fields) if len(place) == 1 else ""
        return ApiError(400, f"{where}: unknown field{hint}", param=where, code="unknown_field")
    message = first["msg"].removeprefix("Value error, ")
    return ApiError(400, f"{where}: {message[0].lower()}{message[1:]}", param=where, code="invalid_value")
