"""OpenAI's own client talks to the server; each answer is the one that the Python API gives alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from generation.text import TextGenerator
from tests.generation.serving.conftest import USUAL, Running

HELLO = [{"role": "user", "content": "the cat 床前🙂"}]


@pytest.fixture
def client(chat_server: Running) -> OpenAI:
    return OpenAI(base_url=f"{chat_server.url}/v1", api_key="none", max_retries=0)


def chat(client: OpenAI, **options: Any) -> Any:
    return client.chat.completions.create(**({"model": "tiny", "messages": HELLO} | options))


def test_32_at_once_each_as_alone(chat_server: Running, make_generator: Callable[..., TextGenerator]) -> None:
    """Streamed chats, whole chats and plain completions, four times as many as slots, of many lengths and options."""
    alone = make_generator()
    questions = [f"{'the dog saw ' * (n % 5)}{n} 明月🙂" for n in range(32)]
    options = [{"seed": n, "temperature": (0.0, 0.7, 1.3)[n % 3], "max_tokens": 5 + n // 2} for n in range(32)]
    expected = []
    for n, (question, option) in enumerate(zip(questions, options, strict=True)):
        config = USUAL.replace(
            seed=n, temperature=option["temperature"], max_new_tokens=option["max_tokens"], num_return_sequences=1
        )
        history = [{"role": "system", "content": "the mat"}, {"role": "user", "content": question}]
        expected.append(alone.generate(question, config) if n % 4 == 3 else alone.chat(history, config))

    async def ask_all() -> list[str]:
        async with AsyncOpenAI(base_url=f"{chat_server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(ask(client, n) for n in range(32)))

    async def ask(client: AsyncOpenAI, n: int) -> str:
        option: dict[str, Any] = options[n]
        if n % 4 == 3:
            text: str = (await client.completions.create(model="tiny", prompt=questions[n], **option)).choices[0].text
            return text
        history: Any = [{"role": "system", "content": "the mat"}, {"role": "user", "content": questions[n]}]
        if n % 2:
            answer = await client.chat.completions.create(model="tiny", messages=history, **option)
            return answer.choices[0].message.content or ""
        stream = await client.chat.completions.create(model="tiny", messages=history, stream=True, **option)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert asyncio.run(ask_all()) == expected
    assert len(set(expected)) == 32


def test_an_answer_and_its_counts(client: OpenAI, chat_server: Running) -> None:
    answer = chat(client, max_tokens=7)
    generator = chat_server.service.generator
    [alone] = generator.complete(HELLO, USUAL.replace(max_new_tokens=7))
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", alone.text)
    assert choice.finish_reason == alone.finish_reason == "length"
    assert answer.usage.prompt_tokens == alone.prompt_tokens > 10
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (7, alone.prompt_tokens + 7)
    assert (answer.object, answer.model, answer.id[:9]) == ("chat.completion", "tiny", "chatcmpl-")
    parts: Any = [{"role": "user", "content": [{"type": "text", "text": HELLO[0]["content"]}]}]
    assert chat(client, messages=parts, max_completion_tokens=7).choices[0].message.content == alone.text


def test_a_stream_and_its_usage(client: OpenAI) -> None:
    whole = chat(client, max_tokens=9)
    chunks = list(chat(client, max_tokens=9, stream=True, stream_options={"include_usage": True}))
    first, *middle, last, end = chunks
    assert first.choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle) + (
        last.choices[0].delta.content or ""
    ) == (whole.choices[0].message.content)
    assert [chunk.choices[0].finish_reason for chunk in [*middle, last]] == [None] * len(middle) + ["length"]
    assert end.choices == [] and end.usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_choices_and_prompts(client: OpenAI, chat_server: Running) -> None:
    answer = chat(client, n=3, max_tokens=12, seed=5)
    texts = [choice.message.content for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2] and len(set(texts)) == 3
    alone = chat_server.service.generator.complete(
        HELLO, USUAL.replace(num_return_sequences=3, max_new_tokens=12, seed=5)
    )
    assert [text.text for text in alone] == texts
    assert answer.usage.completion_tokens == sum(text.completion_tokens for text in alone)
    assert answer.usage.prompt_tokens == alone[0].prompt_tokens
    streamed = ["", "", ""]
    for chunk in chat(client, n=3, max_tokens=12, seed=5, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == texts
    both = client.completions.create(model="tiny", prompt=["the cat", "明月"], n=2, max_tokens=6, seed=1)
    one = client.completions.create(model="tiny", prompt="明月", n=2, max_tokens=6, seed=1)
    assert [choice.text for choice in both.choices[2:]] == [choice.text for choice in one.choices]
    assert both.object == "text_completion" and both.choices[0].finish_reason == "length"


def test_stop_strings_and_logprobs(client: OpenAI) -> None:
    answer = chat(client, max_tokens=20, temperature=0, logprobs=True, top_logprobs=2)
    text, told = answer.choices[0].message.content, answer.choices[0].logprobs.content
    assert b"".join(bytes(entry.bytes) for entry in told).decode(errors="replace").startswith(text[:5])
    assert all(len(entry.top_logprobs) == 2 and entry.logprob == entry.top_logprobs[0].logprob for entry in told)
    streamed = chat(client, max_tokens=20, temperature=0, logprobs=True, top_logprobs=2, stream=True)
    pieces = [chunk.choices[0].logprobs.content for chunk in streamed if chunk.choices[0].logprobs]
    assert [entry for piece in pieces for entry in piece] == told
    stop = text[6:9]
    cut = chat(client, max_tokens=20, temperature=0, stop=[stop, "never there"])
    assert cut.choices[0].message.content == text[: text.index(stop)] and cut.choices[0].finish_reason == "stop"
    plain = client.completions.create(model="tiny", prompt="the", max_tokens=5, temperature=0, logprobs=3)
    columns = plain.choices[0].logprobs
    assert columns is not None and columns.tokens and columns.token_logprobs and columns.top_logprobs
    assert len(columns.tokens) == 5 and columns.text_offset == [
        len("".join(columns.tokens[:place])) for place in range(5)
    ]
    assert all(
        max(top.values()) == chosen for top, chosen in zip(columns.top_logprobs, columns.token_logprobs, strict=True)
    )


def test_our_own_options(client: OpenAI, chat_server: Running) -> None:
    extra = {"top_k": 3, "min_p": 0.1, "repetition_penalty": 1.4, "preset": "creative"}
    answer = chat(client, max_tokens=15, frequency_penalty=0.5, extra_body=extra)
    config = USUAL.replace(max_new_tokens=15, frequency_penalty=0.5, **extra)
    assert answer.choices[0].message.content == chat_server.service.generator.chat(HELLO, config)
    assert answer.choices[0].message.content != chat(client, max_tokens=15).choices[0].message.content


def test_models(client: OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object, client.models.retrieve("tiny")) == ("tiny", "model", model)
    assert model.model_extra == {"max_model_len": 97, "chat": True}
    with pytest.raises(openai.NotFoundError, match="use 'tiny'"):
        client.models.retrieve("gpt-9")


def test_errors_are_the_clients_own(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"context holds 97 tokens; the prompt has \d+") as caught:
        chat(client, messages=[{"role": "user", "content": "cat " * 300}])
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError) as missing:
        chat(client, model="gpt-9")
    assert missing.value.code == "model_not_found"
