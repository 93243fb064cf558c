"""What a model can do, and the message that a model which can't is answered with: it names those that can."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from foundation.errors import UserError
from model.base import LanguageModel
from model.directory import CONFIG
from model.encoder.encoder import Encoder
from model.loading import OUT, models_below

SHOWN = 3  # models named in a message


@dataclass(frozen=True)
class Ability:
    """Something to ask of a model."""

    what: str
    flags: str
    """How inference.py is asked for it."""
    needs: str
    """What can do it."""


WRITE = Ability("write text", "--prompt, --interactive, --batch_file", "a decoder (`python train.py --task causal`)")
FILL = Ability(
    "fill masks",
    "--fill_mask, --interactive",
    "an encoder with its pretraining head (`python train.py --task mlm` or `mlm_nsp`, BertForMaskedLM)",
)
CLASSIFY = Ability(
    "classify",
    "--classify, --classify_file, --interactive",
    "a fine-tuned encoder (`python train.py --task classify`, BertForSequenceClassification)",
)
EMBED = Ability("embed and compare texts", "--similarity, --embed_file", "any encoder (BERT or ModernBERT)")
ENDINGS = (
    ("ForCausalLM", (WRITE,)),
    ("ForMaskedLM", (FILL, EMBED)),
    ("ForPreTraining", (FILL, EMBED)),
    ("ForSequenceClassification", (CLASSIFY, EMBED)),
    ("ForNextSentencePrediction", (EMBED,)),
    ("Model", (EMBED,)),
)
"""What a directory of `transformers` can do, by the end of its architecture's name."""


def abilities(model: LanguageModel) -> tuple[Ability, ...]:
    """What `model` can do."""
    if not isinstance(model, Encoder):
        return (WRITE,)
    fills, classifies = (FILL,) if model.heads.mlm else (), (CLASSIFY,) if model.heads.labels else ()
    return (*fills, *classifies, EMBED)


def abilities_of_directory(path: Path) -> tuple[Ability, ...]:
    """What the model directory `path` says it can do; nothing where it says nothing that is known."""
    try:
        name = json.loads((path / CONFIG).read_bytes())["architectures"][0]
        return next(able for ending, able in ENDINGS if name.endswith(ending))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return ()


def require(ability: Ability, model: LanguageModel, source: Path | None, out: Path = OUT) -> None:
    """`UserError` where `model`, which came from `source`, can't do it: with what it can, and models that can."""
    able = abilities(model)
    if ability in able:
        return
    kind = "a decoder" if not isinstance(model, Encoder) else "an encoder" + _heads(model)
    where = f"{source}: " if source is not None else ""
    others = [path for path in models_below(out) if path.is_dir() and ability in abilities_of_directory(path)]
    found = f" Under {out}/: {', '.join(map(str, others[:SHOWN]))} (--model_path)." if others else ""
    own = "; ".join(f"{a.what} ({a.flags})" for a in able)
    raise UserError(
        f"{where}this model is {kind}, it can't {ability.what}; that takes {ability.needs}.{found} This one can {own}"
    )


def _heads(model: Encoder) -> str:
    if model.heads.labels:
        return f" that classifies ({', '.join(model.heads.labels[:SHOWN])})"
    return " with its pretraining head" if model.heads.mlm else " without a head"
