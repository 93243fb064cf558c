"""Who generates in benchmarks/generate.py: our engine and `transformers`, over the same weights and prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.contenders import Contender
from generation.config import GenerationConfig
from generation.engine import Engine, Request
from generation.engine.quantized import Int8
from generation.engine.usage import bytes_of_weights
from model.config import ModelConfig
from model.decoder import Decoder

OURS = ("engine", "engine, not compiled")
THEIRS = ("transformers dynamic", "transformers static")
PROMPT, CONTEXT = 16, 1024
BATCHES = 64  # of prompts: no prompt comes twice, so that nothing read before helps
SIZES: dict[str, dict[str, Any]] = {
    "39m": {
        "hidden_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 1408,
    },
    "125m": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 12,
        "intermediate_size": 2048,
    },
}
VOCABULARY = {"39m": 32_000, "125m": 50_304}  # embedding and head are one matrix


@dataclass(frozen=True)
class GenerationEntry:
    """A contender: `kind` of OURS or THEIRS, `weights` float32, bfloat16 or int8, so many prompts at a time."""

    kind: str
    weights: str
    rows: int
    size: str
    new: int
    threads: int | None

    @property
    def name(self) -> str:
        """As in the table."""
        return self.kind

    def model(self, device: torch.device) -> Decoder:
        """Random weights, large enough that texts vary."""
        torch.manual_seed(0)
        config = ModelConfig(**SIZES[self.size], max_position_embeddings=CONTEXT, initializer_range=0.05)
        dtype = torch.bfloat16 if self.weights == "bfloat16" else torch.float32
        return Decoder(config, VOCABULARY[self.size]).to(device=device, dtype=dtype).eval()

    def ready(self, device: torch.device) -> tuple[Contender, Sequence[tuple[Sequence[Any], int]]]:
        """The contender, and the prompts of its turns."""
        model = self.model(device)
        write = self._ours(model) if self.kind in OURS else self._theirs(model, device)

        def step(prompts: Tensor) -> Tensor:
            """A number that differs where texts do."""
            texts = write(prompts).double().cpu()  # (rows, new)
            assert texts.shape == (self.rows, self.new)
            return (texts * torch.arange(1, self.new + 1)).sum()

        generator = torch.Generator().manual_seed(1)
        prompts = [
            torch.randint(0, VOCABULARY[self.size], (self.rows, PROMPT), generator=generator) for _ in range(BATCHES)
        ]
        return Contender(self.name, model, step), [((batch,), self.rows * self.new) for batch in prompts]

    def bytes_of_text(self) -> int:
        """Weights that a turn reads, one time for each token."""
        model = self.model(torch.device("cpu"))
        return self.new * bytes_of_weights(model, Int8.of(model) if self._int8 else None)

    @property
    def _int8(self) -> bool:
        return self.weights == "int8" and self.kind in OURS

    def _ours(self, model: Decoder) -> Callable[[Tensor], Tensor]:
        config = GenerationConfig(max_new_tokens=self.new, do_sample=False)
        engine = Engine(model, quantization="int8" if self._int8 else "none", compile=self.kind == OURS[0])

        def write(prompts: Tensor) -> Tensor:
            texts: list[list[int]] = [[] for _ in prompts]
            for token in engine.stream([Request(prompt, config) for prompt in prompts.tolist()]):
                assert token.token is not None
                texts[token.request].append(token.token)
            return torch.tensor(texts)

        return write

    def _theirs(self, model: Decoder, device: torch.device) -> Callable[[Tensor], Tensor]:
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(
            **SIZES[self.size], vocab_size=VOCABULARY[self.size], max_position_embeddings=CONTEXT,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=None, pad_token_id=None,
            rms_norm_eps=model.config.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": model.config.rope_base},
        )  # fmt: skip
        theirs = LlamaForCausalLM(config).to(device=device, dtype=model.dtype).eval()
        missing, unexpected = theirs.load_state_dict(model.state_dict(), strict=False)
        assert not unexpected and set(missing) <= {"lm_head.weight"}
        cache = "static" if self.kind.endswith("static") else "dynamic"

        @torch.inference_mode()
        def write(prompts: Tensor) -> Tensor:
            ids = prompts.to(device)
            out: Tensor = theirs.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.new,
                do_sample=False,
                cache_implementation=cache,
            )
            return out[:, PROMPT:]

        return write
