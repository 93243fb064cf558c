"""The head's loss with its gradients: piece by piece where the logits are, none are kept and none computed twice.

With a vocabulary of 32,000 the head is half of a small model's work. Kept for a backward pass, its logits are hundreds
of megabytes on a CPU, written and read several times in memory that the system hands out page by page, and gigabytes on
a GPU, where computing them again is a fourth product beside the three that training needs. Here gradients are computed
where the logits are (Wijmans et al., 2024, arXiv 2411.09009); backward only scales them.

Axes: N positions, C width, V vocabulary. The head's matrix may have more rows than V; they get no gradient.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear, log_softmax, softmax

IGNORED = -100  # targets with this value are not predicted
DEVICES: tuple[str, ...] = ("cpu", "cuda")
DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # float16 needs the loss scale inside the head's products
# Logits computed at a time. On a CPU what is made of them should stay in the third-level cache, and the products be
# large. Measured on x86, 4,096 positions, 256 wide, 32,000 tokens, compiled in bfloat16: 0.69 s, and 0.80 s with logits
# that are kept for backward. On a GPU pieces only bound memory (512 MB in half precision, and as much for gradients).
PIECE, GPU_PIECE = 3 * 2**22, 2**28
RARE = 1e-30
"""Below this probability float32 is near the end of its range."""
FEWEST_ROWS, MULTIPLE = 64, 32  # the rows are the inner axis of one of the products


def serves(hidden: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether the pieces are the way to the gradients of this head's products in `dtype`."""
    wanted = torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad)
    return wanted and hidden.device.type in DEVICES and dtype in DTYPES


def summed_nats(
    hidden: Tensor, weight: Tensor, targets: Tensor, vocab_size: int, dtype: torch.dtype, bias: Tensor | None = None
) -> Tensor:
    """Summed cross entropies, a scalar in float32 at least, of hidden (N, C), weight (at least V, C), targets (N,) and
    the bias (at least V,) of the logits."""
    compiling = torch.compiler.is_compiling()
    nats: Tensor = _loss_and_gradients(hidden, weight, bias, targets, vocab_size, dtype, compiling)[0]
    return nats


# One operation for torch.compile, which would unroll the pieces. Of each it compiles what no product does.
@torch.library.custom_op("mateconv::head_loss", mutates_args=())
def _loss_and_gradients(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    vocab_size: int,
    dtype: torch.dtype,
    compiled: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, and its gradients for `hidden`, `weight` and `bias` (empty without one), summed over the pieces in
    float32 at least."""
    precise = torch.promote_types(dtype, torch.float32)
    on_cpu = _on_cpu(hidden)
    turn, add = _compiled_parts() if compiled else (_turn if on_cpu else _turn_on_gpu, _add)
    # A GPU multiplies matrices of a round width several times as fast: there the padding stays, as logits of no chance.
    width = vocab_size if on_cpu else weight.shape[0]
    with torch.autocast(hidden.device.type, enabled=False):
        columns = weight[:width].to(dtype)
        of_hidden = torch.empty_like(hidden)
        of_weight = torch.zeros_like(weight, dtype=precise)
        of_bias = weight.new_zeros(0 if bias is None else weight.shape[0], dtype=precise)
        added = None if bias is None else bias[:width].to(dtype)
        total = hidden.new_zeros((), dtype=precise)
        rows = rows_of_a_piece(hidden.shape[0], width, PIECE if on_cpu else GPU_PIECE)
        for start in range(0, hidden.shape[0], rows):
            part = hidden[start : start + rows].to(dtype)
            logits = linear(part, columns, added)
            if width > vocab_size:
                logits[:, vocab_size:] = -torch.inf
            nats, gradient = turn(logits, targets[start : start + rows])
            del logits
            total += nats
            if bias is not None:
                of_bias[:width] += gradient.sum(dim=0, dtype=precise)
            of_hidden[start : start + rows] = gradient @ columns
            if dtype == precise:
                of_weight[:width].addmm_(gradient.t(), part)
            else:
                add(of_weight[:width], gradient.t() @ part)
    return total, of_hidden, of_weight.to(weight.dtype), of_bias if bias is None else of_bias.to(bias.dtype)


@_loss_and_gradients.register_fake
def _(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    vocab_size: int,
    dtype: torch.dtype,
    compiled: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    precise = torch.promote_types(dtype, torch.float32)
    of_bias = weight.new_empty(0, dtype=precise) if bias is None else torch.empty_like(bias)
    return hidden.new_empty((), dtype=precise), torch.empty_like(hidden), torch.empty_like(weight), of_bias


def rows_of_a_piece(count: int, vocab_size: int, piece: int) -> int:
    """How many of `count` positions are taken at a time, for pieces of about `piece` logits: all but the last have as
    many, a multiple that the kernels like where there are enough."""
    most = max(FEWEST_ROWS, piece // vocab_size)
    pieces = max(1, -(-count // most))
    rows = max(1, -(-count // pieces))
    return rows if pieces == 1 else -(-rows // MULTIPLE) * MULTIPLE


def _on_cpu(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"


def _turn(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, V) -> summed nats and the gradient of the logits."""
    predicted, index = targets != IGNORED, targets.clamp(min=0)[:, None]
    gradient = softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    wanted = gradient.gather(1, index)[:, 0]
    nats = -wanted.log()
    rare = wanted < RARE  # where a probability has few digits left, or none
    if bool(rare.any()):
        nats[rare] = cross_entropy(logits[rare].to(nats.dtype), index[rare, 0], reduction="none")
    gradient.scatter_add_(1, index, torch.full_like(index, -1, dtype=gradient.dtype))
    if not bool(predicted.all()):
        gradient[~predicted] = 0.0
    return torch.where(predicted, nats, 0.0).sum(), gradient.to(logits.dtype)


def _turn_on_gpu(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same without a look at a value: Python would wait for the device."""
    predicted, index = targets[:, None] != IGNORED, targets.clamp(min=0)[:, None]
    gradient = log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    wanted = gradient.gather(1, index)
    gradient.exp_().scatter_(1, index, wanted.expm1()).masked_fill_(~predicted, 0.0)
    return torch.where(predicted, -wanted, 0.0).sum(), gradient.to(logits.dtype)


def _turn_in_one(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same without a change in place: torch.compile makes two loops of it."""
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scores = scores - scores.amax(dim=1, keepdim=True)
    wanted = scores.gather(1, targets.clamp(min=0)[:, None])
    raised = scores.exp()
    total = raised.sum(dim=1, keepdim=True)
    predicted = targets[:, None] != IGNORED
    nats = torch.where(predicted, total.log() - wanted, 0.0).sum()
    hit = torch.arange(logits.shape[1], device=logits.device)[None] == targets[:, None]
    gradient = torch.where(predicted, raised / total - hit.to(scores.dtype), 0.0)
    return nats, gradient.to(logits.dtype)


def _add(total: Tensor, part: Tensor) -> None:
    total += part  # torch.compile widens `part` on the way; eager makes a wide copy first


@cache
def _compiled_parts() -> tuple[Any, Any]:
    return torch.compile(_turn_in_one, dynamic=False), torch.compile(_add, dynamic=False)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    ctx.biased = inputs[2] is not None
    ctx.save_for_backward(*output[1:])


def _differentiate(ctx: Any, upstream: Tensor, *_: object) -> tuple[Tensor | None, ...]:
    of_hidden, of_weight, of_bias = ctx.saved_tensors
    bias = of_bias * upstream if ctx.biased else None
    return of_hidden * upstream, of_weight * upstream, bias, None, None, None, None


_loss_and_gradients.register_autograd(_differentiate, setup_context=_keep)
