"""What chat training did: held-out questions answered, and the loss of held-out answers beside the pretrained model.

    python -m benchmarks.chat_quality --model out/finetune/chat --pretrained out/chat --dataset dataset/chat

Asks the first question of conversations of the validation split, evenly spaced over it, and counts the answers that end
by themselves within `--max_new_tokens`, have five words or more and repeat few 4-grams. A word is a run of letters and
digits; each Chinese character is one. Options are those of the preset `chat`, question n is answered with seed n.

The loss is that of all held-out answers, in the first `--tokens` tokens of their conversations; each model reads them
as it met conversations in training. Quality is not measured: samples are printed to be read.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from foundation import cli
from foundation.errors import UserError
from generation.chat import Message
from generation.completion import Completion
from generation.config import GenerationConfig
from generation.text import TextGenerator
from shards.dataset import Dataset
from shards.token_stream import IGNORE
from tokenization.tokenizer import Tokenizer

HAN = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
WORD = re.compile(rf"{HAN}|(?:(?!{HAN})[^\W_])+(?:['’-](?:(?!{HAN})[^\W_])+)*")
FEWEST_WORDS, MOST_REPEATED, GRAM = 5, 0.2, 4
NAMES = ("all", "English", "Chinese")


class HeldOut(NamedTuple):
    """A conversation of the validation split: its tokens without the terminator, where the assistant speaks, and the
    messages before its first answer."""

    tokens: list[int]
    spans: list[tuple[int, int]]
    question: list[Message]

    @property
    def language(self) -> str:
        """Chinese where the question has a Chinese character."""
        return "Chinese" if any(re.search(HAN, message["content"]) for message in self.question) else "English"


@dataclass(frozen=True)
class Verdict:
    """What there is to say of an answer."""

    ended: bool
    words: int
    repeated: float

    @property
    def good(self) -> bool:
        """Whether it ends, says something, and does not go in circles."""
        return self.ended and self.words >= FEWEST_WORDS and self.repeated < MOST_REPEATED


def words(text: str) -> list[str]:
    """The words of a text in small letters."""
    return [word.lower() for word in WORD.findall(text)]


def repeated(found: Sequence[str], size: int = GRAM) -> float:
    """The share of the runs of `size` words that were there before."""
    grams = [tuple(found[place : place + size]) for place in range(len(found) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def judge(answer: Completion) -> Verdict:
    """The verdict on an answer."""
    found = words(answer.text)
    return Verdict(answer.finish_reason == "stop", len(found), repeated(found))


def held_out(dataset: Dataset, tokenizer: Tokenizer) -> Iterator[HeldOut]:
    """The conversations of a split in which an assistant speaks, in its order."""
    for number in range(dataset.documents):
        spans, tokens = dataset.spans(number), dataset.document(number).tolist()
        if spans is None or not len(spans) or tokens[0] != tokenizer.roles.turn_start:
            continue
        tokens = tokens[: len(tokens) - dataset.terminator_length]
        yield HeldOut(tokens, [(a, b) for a, b in spans.tolist()], _messages(tokens[: spans[0][0]], tokenizer))


def _messages(tokens: list[int], tokenizer: Tokenizer) -> list[Message]:
    """The messages that end in `tokens`."""
    found: list[Message] = []
    start, end = (tokenizer.roles.require(role, "a chat", tokenizer.where) for role in ("turn_start", "turn_end"))
    while end in tokens:
        place = tokens.index(end)
        role, _, content = tokenizer.decode(tokens[tokens.index(start) + 1 : place]).partition("\n")
        found.append({"role": role, "content": content})
        tokens = tokens[place + 1 :]
    return found


@torch.no_grad()
def answer_loss(generator: TextGenerator, conversations: Sequence[HeldOut], before: list[int], length: int) -> float:
    """Nats a token of the answers, in the first `length` tokens of each conversation, read after `before`."""
    total = predicted = 0.0
    model = generator.model
    for conversation in conversations:
        tokens = torch.tensor([*before, *conversation.tokens[:length]])
        targets = torch.full_like(tokens, IGNORE)
        for start, stop in conversation.spans:
            part = slice(len(before) + start, len(before) + min(stop, length))
            targets[part] = tokens[part]
        device = model.head_weight.device
        nats, count = model.loss(tokens[None, :-1].to(device), targets[None, 1:].to(device))
        total, predicted = total + float(nats), predicted + float(count)
    return total / max(1.0, predicted)


def main(argv: list[str]) -> int:
    """The command."""
    options = _parser().parse_args(argv)
    paths = (options.model, options.pretrained)
    generator, pretrained = (TextGenerator.from_path(path, dtype="float32") for path in paths)
    if not generator.can_chat:
        raise UserError(f"{options.model}: was not trained to chat; train it with python train.py --task chat")
    dataset = Dataset.open(options.dataset, "val")
    conversations = list(held_out(dataset, generator.tokenizer))
    if not conversations:
        raise UserError(f"{options.dataset}: no conversation is held out; make it with a larger --val_fraction")
    terminator = dataset.manifest.terminator if dataset.manifest else []
    for name in NAMES:
        chosen = [one for one in conversations if name in ("all", one.language)]
        if not chosen:
            continue
        ours = answer_loss(generator, chosen, [], options.tokens)
        theirs = answer_loss(pretrained, chosen, terminator, options.tokens)
        print(f"answer loss, {name:7} {len(chosen):4} held out: {ours:.3f} nats a token, pretrained {theirs:.3f}")
    count = min(options.questions, len(conversations))
    asked = [conversations[place * len(conversations) // count] for place in range(count)]
    config = GenerationConfig(preset="chat", max_new_tokens=options.max_new_tokens)
    answers = _answers(generator, asked, config)
    verdicts = [judge(answer) for answer in answers]
    _show(asked, answers, verdicts, options.samples)
    for name in NAMES:
        _tell(name, [verdict for one, verdict in zip(asked, verdicts, strict=True) if name in ("all", one.language)])
    return 0


def _answers(generator: TextGenerator, asked: Sequence[HeldOut], config: GenerationConfig) -> list[Completion]:
    """An answer to each question, by the chance of its number."""
    questions = [one.question for one in asked]
    found = dict(generator.complete_each(questions, config, seeds=range(len(questions))))
    answers: list[Completion] = []
    for place in range(len(questions)):
        result = found[place]
        if isinstance(result, UserError):
            raise result
        answers.append(result[0])
    return answers


def _show(asked: Sequence[HeldOut], answers: Sequence[Completion], verdicts: Sequence[Verdict], count: int) -> None:
    """Print `count` questions with their answers, evenly spaced."""
    for place in sorted({number * len(asked) // max(1, count) for number in range(min(count, len(asked)))}):
        verdict = verdicts[place]
        print(f"\n[{place}] {asked[place].question[-1]['content']}")
        print(f"--> {answers[place].text}")
        ended = "ended" if verdict.ended else "did not end"
        print(f"    ({ended} after {answers[place].completion_tokens} tokens, {verdict.repeated:.0%} 4-grams repeated)")
    print()


def _tell(name: str, verdicts: Sequence[Verdict]) -> None:
    """Print the shares of one kind of question."""
    if not verdicts:
        return
    size = len(verdicts)
    ended = sum(v.ended for v in verdicts) / size
    spoken = sum(v.words >= FEWEST_WORDS for v in verdicts) / size
    circles = sum(v.repeated < MOST_REPEATED for v in verdicts) / size
    mean = sum(v.repeated for v in verdicts) / size
    print(
        f"{name:7} {size:3} questions: {sum(v.good for v in verdicts) / size:.0%} good; {ended:.0%} ended, "
        f"{spoken:.0%} of {FEWEST_WORDS} words or more, {circles:.0%} under {MOST_REPEATED:.0%} repeated 4-grams "
        f"(mean {mean:.1%})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat_quality", description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="run or model directory that was chat-trained")
    parser.add_argument("--pretrained", type=Path, required=True, help="the one that it started from")
    parser.add_argument("--dataset", type=Path, required=True, help="dataset whose validation split has conversations")
    parser.add_argument("--questions", type=int, default=50, help="questions to ask (default: 50)")
    parser.add_argument("--max_new_tokens", type=int, default=200, help="most tokens of an answer (default: 200)")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of a conversation that count (default: 256)")
    parser.add_argument("--samples", type=int, default=8, help="answers to print (default: 8)")
    return parser


if __name__ == "__main__":
    cli.run(main)
