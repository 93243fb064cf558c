"""A tokenizer as GGUF's metadata say it: tokens, kinds of tokens, merges, special ids, chat template.

Source: the GGUF specification (ggml, docs/gguf.md, `tokenizer.ggml.*`), and how llama.cpp reads it (llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.logs import get_logger
from tokenization.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gguf import GGUFWriter

log = get_logger("export")

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # of gguf.TokenType
SPLIT_ON = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+":
    ("qwen2", False),
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)"
    r"|\s+": ("llama-bpe", True),
}  # fmt: skip
"""Patterns that llama.cpp has, by the names of `tokenizer.ggml.pre`, and whether it takes words that are tokens whole
(`ignore_merges`)."""
_WORDS = (
    "the tokenizer has to be a byte-level BPE that splits words as Qwen2, Llama 3 or GPT-2 do (ours does: `--type bpe`)"
)


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.ggml.*` holds."""

    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    special: dict[str, int]
    """bos, eos, eot, unk, pad: ids of those that there are."""
    add_bos: bool
    chat_template: str | None

    def write(self, writer: GGUFWriter) -> None:
        """Put everything into the metadata of a file."""
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.kinds)
        writer.add_token_merges(self.merges)
        for name, number in self.special.items():
            getattr(writer, f"add_{name}_token_id")(number)
        writer.add_add_bos_token(self.add_bos)
        writer.add_add_eos_token(False)
        writer.add_add_space_prefix(False)
        if self.chat_template is not None:
            writer.add_chat_template(self.chat_template)


def vocabulary_of(tokenizer: Tokenizer, size: int, generation: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary of a model that knows `size` tokens; `generation` is the content of its generation_config.json.

    `UserError` for tokenizers that llama.cpp cannot imitate: it would give other ids for the same text.
    """
    definition = tokenizer.json()
    pre, takes_words = _pre_tokenizer(definition, tokenizer.where)
    _check(definition, takes_words, tokenizer.where)
    if tokenizer.vocab_size > size:
        raise UserError(
            f"{tokenizer.where}: the tokenizer has {tokenizer.vocab_size:,} tokens, but the model knows {size:,}; use "
            "the tokenizer that the model was trained with"
        )
    tokens, kinds = _tokens(tokenizer, definition, size)
    special = _special(tokenizer, generation)
    opening = tokenizer.opening
    if opening and opening != [special.get("bos")]:
        names = " ".join(str(tokenizer.id_to_token(number)) for number in opening)
        raise UserError(
            f"{tokenizer.where}: texts begin with {names}; GGUF can only say that they begin with bos_token"
        )
    return Vocabulary(
        pre, tokens, kinds, _merges(definition), special, add_bos=bool(opening), chat_template=tokenizer.chat_template
    )


def _pre_tokenizer(definition: Mapping[str, Any], where: str) -> tuple[str, bool]:
    """The name of the pre-tokenizer in llama.cpp, and whether it takes words that are tokens whole."""
    steps = definition.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", []) if steps.get("type") == "Sequence" else [steps]
    *splits, last = steps or [{}]
    kind = (definition.get("model") or {}).get("type")
    if kind != "BPE" or last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        found = f"{kind} after {' and '.join(str(step.get('type')) for step in steps)}" if steps != [{}] else kind
        raise UserError(f"{where}: its tokenizer is {found}, which GGUF files of ours do not hold; {_WORDS}")
    if not splits and last.get("use_regex", True):
        return "gpt-2", False
    pattern = (splits[0].get("pattern") or {}).get("Regex") if len(splits) == 1 else None
    plain = pattern is not None and not splits[0].get("invert") and splits[0].get("behavior") == "Isolated"
    if not plain or last.get("use_regex", True) or pattern not in SPLIT_ON:
        raise UserError(f"{where}: its tokenizer splits words in a way that llama.cpp does not know; {_WORDS}")
    return SPLIT_ON[pattern]


def _check(definition: Mapping[str, Any], takes_words: bool, where: str) -> None:
    """`UserError` for what else llama.cpp's BPE does not have."""
    model = definition["model"]
    normalizer = definition.get("normalizer")
    if normalizer is not None and normalizer.get("type") == "NFC":
        log.warning("%s: llama.cpp does not bring texts into the form NFC, as this tokenizer does", where)
        normalizer = None
    odd = [key for key in ("byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "dropout", "fuse_unk")
           if model.get(key)]  # fmt: skip
    odd += ["a normalizer"] if normalizer is not None else []
    odd += ["ignore_merges"] if bool(model.get("ignore_merges")) != takes_words else []
    if odd:
        raise UserError(f"{where}: its tokenizer has {', '.join(odd)}, which llama.cpp does not imitate; {_WORDS}")


def _tokens(tokenizer: Tokenizer, definition: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Every id's token and its kind; ids that no text has get a name of their own."""
    added = {token["id"]: bool(token.get("special")) for token in definition.get("added_tokens") or []}
    tokens, kinds = [], []
    for number in range(size):
        token = tokenizer.id_to_token(number)
        kind = UNUSED if token is None else NORMAL
        if number in added:
            kind = CONTROL if added[number] else USER_DEFINED
        tokens.append(_unused(number, tokenizer) if token is None else token)
        kinds.append(kind)
    return tokens, kinds


def _unused(number: int, tokenizer: Tokenizer) -> str:
    name = f"[PAD{number}]"
    while tokenizer.token_to_id(name) is not None:
        name += "]"
    return name


def _merges(definition: Mapping[str, Any]) -> list[str]:
    """`a b`, as llama.cpp reads them; newer tokenizer.json have pairs. No token of a byte-level BPE holds a blank."""
    merges: Collection[Any] = definition["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def _special(tokenizer: Tokenizer, generation: Mapping[str, Any]) -> dict[str, int]:
    """The special ids by their names in GGUF. Where nothing begins a text, what ends one stands for it: llama.cpp would
    take GPT-2's id otherwise. What separates texts in encoders is left out: llama-cpp-python puts it behind prompts."""
    ends = generation.get("eos_token_id")
    stops = [number for number in (ends if isinstance(ends, list) else [ends]) if isinstance(number, int)]
    roles = tokenizer.roles
    eos = stops[0] if stops else roles.end_of_text
    begins = tokenizer.config.get("bos_token")
    name = begins.get("content") if isinstance(begins, Mapping) else begins
    bos = tokenizer.token_to_id(name) if isinstance(name, str) else None
    found = {
        "bos": eos if bos is None else bos,
        "eos": eos,
        "eot": roles.turn_end,
        "unk": roles.unk,
        "pad": roles.pad,
    }
    if eos is None:
        raise UserError(
            f"{tokenizer.where}: no token ends a text (eos_token in tokenizer_config.json); llama.cpp needs one"
        )
    return {name: number for name, number in found.items() if number is not None}
