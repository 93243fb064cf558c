"""Find the files of a tokenizer: in a directory, as one file, as BERT's vocab.txt, or on the Hugging Face hub."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from foundation.errors import UserError
from tokenization.bert import BERT_CONFIG, BERT_SPECIAL, build_word_piece

TOKENIZER_JSON = "tokenizer.json"
CONFIG_JSON = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
VOCAB_TXT = "vocab.txt"
CARRIED_FILES = (TOKENIZER_JSON, CONFIG_JSON, "special_tokens_map.json", CHAT_TEMPLATE)
"""Files of a Hugging Face tokenizer directory that are kept and copied into model directories."""

_CAPITAL = re.compile("[A-Z]")
_BRACKETED = re.compile(r"\[.*\]")
_HUB = re.compile(r"(hf://)?([A-Za-z0-9][\w.-]*/[\w.-]+?)(@[\w./-]+)?")


def find_files(where: Path | str) -> tuple[dict[str, bytes], str]:
    """The tokenizer files at `where`, and how to name the place in messages.

    `where`: a directory with `tokenizer.json` or `vocab.txt`, either file itself, or a hub repository as
    `hf://OWNER/NAME[@REVISION]` or plain `OWNER/NAME` when no such path exists. Raises `UserError` when there is none.
    """
    text = str(where)
    path = Path(text)
    match = _HUB.fullmatch(text)
    if match and (match[1] or not path.exists()) and (match[1] or not isinstance(where, Path)):
        downloaded = _download(match[2], (match[3] or "@")[1:] or None, explicit=bool(match[1]))
        return with_tokenizer_json(downloaded, f"hf://{match[2]}"), text
    if path.is_file() and path.name not in (TOKENIZER_JSON, VOCAB_TXT):
        raise UserError(f"{path}: a tokenizer is a {TOKENIZER_JSON}, a {VOCAB_TXT} or a directory that holds one")
    directory = path.parent if path.is_file() else path
    names = [*CARRIED_FILES, VOCAB_TXT]
    if path.name == VOCAB_TXT:
        names.remove(TOKENIZER_JSON)
    files = {name: (directory / name).read_bytes() for name in names if (directory / name).is_file()}
    if TOKENIZER_JSON not in files and VOCAB_TXT not in files:
        raise UserError(
            f"{directory}: no {TOKENIZER_JSON} or {VOCAB_TXT} there; give a tokenizer directory of Hugging Face's"
            " layout, or a hub repository as hf://OWNER/NAME"
        )
    return with_tokenizer_json(files, str(directory)), str(directory)


def with_tokenizer_json(files: dict[str, bytes], where: str) -> dict[str, bytes]:
    """`files` with a `tokenizer.json`, made from `vocab.txt` if there is none. Raises `UserError` if that cannot be."""
    vocabulary = files.pop(VOCAB_TXT, None)
    if TOKENIZER_JSON not in files:
        assert vocabulary is not None
        files |= _from_vocabulary(vocabulary, files.get(CONFIG_JSON, b"{}"), f"{where}/{VOCAB_TXT}")
    return files


def _from_vocabulary(data: bytes, config_data: bytes, where: str) -> dict[str, bytes]:
    """BERT's tokenizer from a token a line, as `transformers` builds it.

    Without a `tokenizer_config.json` that says so, text is lowered when no entry but the bracketed
    ones has a capital A to Z.
    """
    try:
        lines = data.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        config: dict[str, Any] = json.loads(config_data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a vocabulary in UTF-8, a token a line ({error})") from None
    vocabulary = {token: number for number, token in enumerate(lines)}
    if len(vocabulary) < len(lines):
        double = next(token for number, token in enumerate(lines) if vocabulary[token] != number)
        raise UserError(f"{where}: the token {double!r} occurs twice; ids would be ambiguous")
    if BERT_SPECIAL["unk"] not in vocabulary:
        raise UserError(f"{where}: no line is {BERT_SPECIAL['unk']}, so this is no vocabulary of BERT's kind")
    lowercase = config.get("do_lower_case")
    if not isinstance(lowercase, bool):
        lowercase = not any(_CAPITAL.search(token) for token in lines if not _BRACKETED.fullmatch(token))
    chinese = config.get("tokenize_chinese_chars")
    built = build_word_piece(vocabulary, lowercase, config.get("strip_accents"), chinese is not False)
    ours = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": lowercase}
    present = {key: token for key, token in BERT_CONFIG.items() if token in vocabulary}
    config = {**ours, **present, **config, "tokenizer_class": "PreTrainedTokenizerFast"}
    return {
        TOKENIZER_JSON: (built.to_str(pretty=True) + "\n").encode(),
        CONFIG_JSON: (json.dumps(config, indent=2) + "\n").encode(),
    }


def _download(name: str, revision: str | None, explicit: bool) -> dict[str, bytes]:
    """The tokenizer's files of a hub repository, and nothing else of it, through the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    wanted = [*CARRIED_FILES, VOCAB_TXT]
    shown = f"hf://{name}" if explicit else f"{name}: no such path here, and as a hub repository"
    try:
        place = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except GatedRepoError:
        raise UserError(
            f"hf://{name}: its owner grants access on request; ask at https://huggingface.co/{name}, then set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        at = f" at revision {revision}" if revision else ""
        raise UserError(
            f"{shown}: the hub has no such repository{at}; check the spelling (a private one needs HF_TOKEN in the"
            " environment)"
        ) from None
    except Exception as error:  # offline mode, no network, time-outs: each has another class
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise UserError(
            f"{shown}: the Hugging Face hub cannot be reached and the files are not in its cache ({reason})."
            " Download tokenizer.json elsewhere and give its directory, or set HF_ENDPOINT to a mirror"
        ) from None
    files = {file: (place / file).read_bytes() for file in wanted if (place / file).is_file()}
    if TOKENIZER_JSON not in files and VOCAB_TXT not in files:
        raise UserError(f"hf://{name}: this repository has no {TOKENIZER_JSON} and no {VOCAB_TXT}")
    return files
