"""What `complete` and the writers of texts tell beside the text: reasons, counts, log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UserError
from foundation.streams import derive_seed
from generation.completion import Completion, Piece, Writer
from generation.config import GenerationConfig
from generation.engine import Request, Token
from generation.prompts import TooLong
from generation.text import TextGenerator
from model.decoder import Decoder
from tokenization.token_text import TokenTexts
from tokenization.tokenizer import Tokenizer

Make = Callable[..., Decoder]
OURS = {"objective": "causal", "chat_trained": False}
SAMPLED = GenerationConfig(seed=3, max_new_tokens=29)


@pytest.fixture(scope="module")
def generator(make_model: Make, tokenizer: Tokenizer) -> TextGenerator:
    return TextGenerator(make_model(), tokenizer, mateconv=OURS)


def _write(tokenizer: Tokenizer, ids: list[int], **options: Any) -> tuple[list[Piece], Writer]:
    """The pieces of these tokens, each with a logarithm of its own; what comes after a stop string is not pushed."""
    writer = Writer(tokenizer, TokenTexts(tokenizer), Request([1], GenerationConfig(**options)))
    pieces = []
    for place, token in enumerate([*ids, None]):
        logprob = None if token is None or options.get("logprobs") is None else -float(place)
        pieces.append(writer.push(Token(0, token, logprob, finish="stop" if token is None else None)))
        if pieces[-1].finish_reason:
            break
    return pieces, writer


def test_details(generator: TextGenerator, tokenizer: Tokenizer) -> None:
    (whole,) = generator.complete("the cat", SAMPLED)
    assert whole == Completion(
        generator.generate("the cat", SAMPLED), "length", len(tokenizer.encode("the cat")) + 1, 29
    )
    stop = whole.text[10:13]
    (cut,) = generator.complete("the cat", SAMPLED.replace(stop=[stop, "never comes"]))
    assert (
        cut.text == whole.text[: whole.text.index(stop)] == generator.generate("the cat", SAMPLED.replace(stop=[stop]))
    )
    assert cut.finish_reason == "stop" and cut.completion_tokens < 29
    assert generator.engine.idle  # the row has left the engine


def test_several_texts_of_a_prompt(generator: TextGenerator) -> None:
    texts = [completion.text for completion in generator.complete("the cat", SAMPLED.replace(num_return_sequences=3))]
    seeds = [3, derive_seed(3, "sample", 1), derive_seed(3, "sample", 2)]
    assert texts == [generator.generate("the cat", SAMPLED.replace(seed=seed)) for seed in seeds]
    assert len(set(texts)) == 3
    several = generator.batch_generate(["the cat", "a"], SAMPLED.replace(num_return_sequences=3))
    assert several[:3] == texts and len(several) == 6
    with pytest.raises(UserError, match="complete"):
        generator.generate("the cat", SAMPLED.replace(num_return_sequences=2))


@pytest.mark.parametrize("options", [{}, {"do_sample": False}, {"stop": ("t", "明"), "logprobs": 1}], ids=str)
def test_looking_tokens_up_in_the_prompt_changes_only_the_passes(
    generator: TextGenerator, options: dict[str, Any]
) -> None:
    """Among options that look back; one below 1 makes the text repeat itself."""
    config = SAMPLED.replace(repetition_penalty=0.3, num_return_sequences=2, temperature=0.3, **options)
    found, passes = [], []
    for guesses in (0, 4):
        before = generator.engine.usage.passes
        texts = generator.complete("the cat sat on the mat, " * 3, config.replace(prompt_lookup_num_tokens=guesses))
        found.append([(text.text, text.finish_reason, [t.id for t in text.logprobs or ()]) for text in texts])
        passes.append(generator.engine.usage.passes - before)
    assert found[0] == found[1]
    assert passes[1] < passes[0] or options


def test_several_texts_read_their_prompt_once(make_model: Make, tokenizer: Tokenizer) -> None:
    generator = TextGenerator(make_model(), tokenizer, compile=False)
    widths: list[int] = []
    hidden = generator.model.hidden

    def watched(tokens: torch.Tensor, **others: Any) -> torch.Tensor:
        widths.append(tokens.shape[1])
        return hidden(tokens, **others)

    generator.model.hidden = watched  # type: ignore[method-assign]
    prompt = "the cat sat on the mat, and the dog " * 3
    texts = generator.complete(prompt, SAMPLED.replace(num_return_sequences=4, max_new_tokens=5))
    assert len({text.text for text in texts}) == 4
    assert widths.count(texts[0].prompt_tokens) == 1 and set(widths) == {texts[0].prompt_tokens, 1}


def test_an_engine_is_made_as_asked(make_model: Make, tokenizer: Tokenizer) -> None:
    model, read = make_model(), []
    for quantization in ("none", "int8"):
        generator = TextGenerator(model, tokenizer, slots=3, quantization=quantization, compile=False)  # type: ignore[arg-type]
        assert len(generator.generate("the cat", SAMPLED)) > 5 and generator.engine.slots == 3
        read.append(generator.engine.usage.bytes_read)
    assert read[1] < read[0] / 2


def test_each_prompt_is_taken_when_there_is_room_and_errors_stay_with_theirs(generator: TextGenerator) -> None:
    prompts = ["the cat", "a\udcff", "床前", "the dog", "\udcff"]
    taken: list[str] = []

    def one_by_one() -> Any:
        for prompt in prompts:
            taken.append(prompt)
            yield prompt

    results: dict[int, Any] = {}
    ahead = []
    for place, result in generator.complete_each(one_by_one(), SAMPLED, at_once=1):
        results[place] = result
        ahead.append(len(taken) - len(results))
    assert max(ahead) <= 2  # a prompt that failed was taken along with the next one
    assert [place for place in sorted(results) if isinstance(results[place], UserError)] == [1, 4]
    for place in (0, 2, 3):
        assert results[place] == generator.complete(prompts[place], SAMPLED)


def test_prompts_that_must_not_be_cut_are_refused_with_their_length(generator: TextGenerator) -> None:
    with pytest.raises(TooLong, match="context of 97") as caught:
        generator.requests("床" * 140, SAMPLED, cut=False)
    assert caught.value.prompt_tokens == 1 + len(generator.tokenizer.encode("床" * 140))
    with pytest.raises(UserError, match="not trained to chat"):
        generator.complete([{"role": "user", "content": "hi"}])


def test_logprobs_are_those_of_the_model(generator: TextGenerator, tokenizer: Tokenizer) -> None:
    """Against one pass of the model over prompt and answer."""
    (told,) = generator.complete("the cat", SAMPLED.replace(logprobs=2, repetition_penalty=1.3))
    assert told.logprobs is not None and len(told.logprobs) == told.completion_tokens == 29
    ids = [token.id for token in told.logprobs]
    prompt = generator.requests("the cat", SAMPLED)[0].prompt
    with torch.inference_mode():
        logits = generator.model(torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1]
    expected = logits.double().log_softmax(dim=-1)
    for place, token in enumerate(told.logprobs):
        assert token.logprob == pytest.approx(float(expected[place, token.id]), abs=1e-4)
        assert [other.logprob for other in token.top] == pytest.approx(
            expected[place].topk(2).values.tolist(), abs=1e-4
        )
    shown = b"".join(token.bytes for token in told.logprobs if token.id not in tokenizer.special_ids)
    assert shown.decode(errors="replace").rstrip("\ufffd") == told.text.rstrip("\ufffd")


@settings(max_examples=100, deadline=None)
@given(text=st.text("床前明月光🙂👩‍ aé", min_size=1, max_size=12), stop=st.text("前明🙂 a", min_size=1, max_size=2))
def test_logprobs_go_with_the_text_that_is_shown(tokenizer: Tokenizer, text: str, stop: str) -> None:
    ids = tokenizer.encode(text)
    pieces, writer = _write(tokenizer, ids, stop=[stop], logprobs=0)
    whole = writer.whole(pieces)
    assert whole.text == text.partition(stop)[0] and whole.finish_reason == "stop"
    assert whole.logprobs is not None
    assert [token.id for token in whole.logprobs] == ids[: len(whole.logprobs)]
    told = b"".join(token.bytes for token in whole.logprobs)
    last = whole.logprobs[-1].bytes if whole.logprobs else b""
    assert told.startswith(whole.text.encode())  # a token may go on into the stop string
    assert len(told) - len(last) < len(whole.text.encode()) or not whole.logprobs or stop not in text
    before = ""
    for piece in pieces:  # a token is told with the piece its text begins in, or later where that begins it
        before += piece.text
        assert not piece.logprobs or piece.text or piece.finish_reason
    assert _write(tokenizer, ids, stop=[stop])[1].whole(pieces[-1:]).logprobs is None


def test_texts_of_single_tokens(tokenizer: Tokenizer) -> None:
    texts = TokenTexts(tokenizer)
    for text in ["the cat", "床前明月光", "🙂"]:
        assert b"".join(texts(token)[1] for token in tokenizer.encode(text)) == text.encode()
    assert texts(0) == ("<|endoftext|>", b"<|endoftext|>") and texts(10**6) == ("", b"")
