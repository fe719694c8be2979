"""Attention and feed-forward blocks whose backward pass is written by hand, for training on the processor.

They compute what the plain modules compute, under `torch.autocast` or without it, with fewer passes over memory: one
product for query, key and value, products in bf16 from end to end instead of casts around each of them, the softmax and
its gradient in place, and nothing kept for the way back that is not needed there. The residual sum and the LayerNorm
stay in fp32, as under autocast.

S tokens, H hidden width, F inner width, A heads, D = H / A, R rows of a rectangle, L its length, K tokens that are
looked at in a row, M chosen tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from albertine.models.dropout import Dropout, drop_in_place, keep_mask, keep_scale
from albertine.models.rectangles import Rectangles, all_tokens, attention_weights, chosen_tokens

if TYPE_CHECKING:  # the modules of these files call this one
    from albertine.models.attention import AttentionBlock, Layout
    from albertine.models.layers import FeedForwardBlock

__all__ = [
    "BlockChoices",
    "add_and_norm",
    "add_and_norm_gradients",
    "attention_block",
    "divided",
    "feed_forward_block",
    "joined",
    "linear_gradients",
    "mix",
    "mix_gradients",
    "plain_blocks",
    "product_dtype",
    "usable",
]

aten = torch.ops.aten
_any_global_hook: Callable[[], bool] = module_hooks._has_any_global_hook
_plain: ContextVar[bool] = ContextVar("plain blocks", default=False)


@contextmanager
def plain_blocks() -> Iterator[None]:
    """Compute with the plain modules inside of the context, for gradients of gradients or to compare."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def usable(block: nn.Module, hidden: Tensor) -> bool:
    """Say whether the block may be computed here: in training, on the processor, with nothing attached to its parts.

    Replaced or parametrized parts (LoRA, pruning), hooks, weights that are not fp32, tracing and function transforms
    (per-example gradients) take the plain modules.
    """
    return (
        torch.is_grad_enabled()
        and hidden.device.type == "cpu"
        and hidden.dtype in (torch.float32, torch.bfloat16)
        and not _plain.get()
        and not block.pre_norm
        and product_dtype() is not None
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.peek_interpreter_stack()
        and not _any_global_hook()
        and all(_is_plain(part) for part in block.children())
    )


def _is_plain(part: nn.Module) -> bool:
    if part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks:
        return False
    if type(part) is nn.Linear:
        return part.weight.dtype == torch.float32 and part.bias is not None
    if type(part) is nn.LayerNorm:
        return part.weight.dtype == torch.float32
    return type(part) is Dropout


def product_dtype() -> torch.dtype | None:
    """Return the type of the products here, under `torch.autocast` or without it; None for one not provided for."""
    if not torch.is_autocast_enabled("cpu"):
        return torch.float32
    return torch.bfloat16 if torch.get_autocast_dtype("cpu") == torch.bfloat16 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockChoices:
    """What a function needs to know besides tensors."""

    dtype: torch.dtype
    epsilon: float
    dropout: float
    weights_dropout: float = 0.0
    heads: int = 1
    layout: Layout | None = None
    approximate: str | None = None
    """Form of GELU; None for ReLU."""


def attention_block(block: AttentionBlock, hidden: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
    """Return what `AttentionBlock.forward` does, [B, T, H] or [S, H], or [M, H] of the chosen rows."""
    dtype = product_dtype()
    assert dtype is not None
    choices = BlockChoices(
        dtype=dtype,
        epsilon=block.layer_norm.eps,
        dropout=block.dropout.chance if block.training else 0.0,
        weights_dropout=block.attention_dropout if block.training else 0.0,
        heads=block.num_attention_heads,
        layout=layout,
    )
    parts = (block.query, block.key, block.value, block.output, block.layer_norm)
    weights = [one for part in parts for one in (part.weight, part.bias)]
    with torch.autocast("cpu", enabled=False):
        mixed = _attention(hidden.reshape(-1, hidden.shape[-1]).float(), rows, choices, *weights)
    return mixed if rows is not None else mixed.view(hidden.shape)


def feed_forward_block(block: FeedForwardBlock, hidden: Tensor) -> Tensor:
    """Return what `FeedForwardBlock.forward` does, of the shape of `hidden`."""
    dtype = product_dtype()
    assert dtype is not None
    choices = BlockChoices(
        dtype=dtype,
        epsilon=block.layer_norm.eps,
        dropout=block.dropout.chance if block.training else 0.0,
        approximate={"relu": None, "gelu_tanh": "tanh"}.get(block.hidden_act, "none"),
    )
    parts = (block.intermediate, block.output, block.layer_norm)
    weights = [one for part in parts for one in (part.weight, part.bias)]
    with torch.autocast("cpu", enabled=False):
        mapped = _feed_forward(hidden.reshape(-1, hidden.shape[-1]).float(), choices, *weights)
    return mapped.view(hidden.shape)


# ------------------------------------------------------------------------------------------- residual, dropout and norm


def add_and_norm(
    residual: Tensor, output: Tensor, weight: Tensor, bias: Tensor, choices: BlockChoices
) -> tuple[Tensor, tuple[Tensor | None, ...]]:
    """Drop, add and norm; `output` is overwritten. Returns the result and what `add_and_norm_gradients` needs."""
    scale, kept = 1.0, None
    if choices.dropout:
        kept = keep_mask(output.shape, choices.dropout)
        drop_in_place(output, kept)
        scale = keep_scale(choices.dropout)
    summed = torch.add(residual, output, alpha=scale)
    normed, mean, deviation = torch.native_layer_norm(summed, (summed.shape[-1],), weight, bias, choices.epsilon)
    return normed, (summed, mean, deviation, kept)


def add_and_norm_gradients(
    grad: Tensor,
    saved: Sequence[Tensor | None],
    weight: Tensor,
    bias: Tensor,
    wanted: list[bool],
    choices: BlockChoices,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of the residual (fp32), of the output, of the norm's weight and of its bias."""
    summed, mean, deviation, kept = saved
    assert summed is not None
    into_sum, into_weight, into_bias = aten.native_layer_norm_backward(
        grad, summed, (summed.shape[-1],), mean, deviation, weight, bias, [True, *wanted]
    )
    if kept is None:
        # a copy also where the type is the same: the residual's gradient is added to in place
        return into_sum, into_sum.to(choices.dtype, copy=True), into_weight, into_bias
    output = torch.mul(into_sum, keep_scale(choices.dropout)).to(choices.dtype)
    drop_in_place(output, kept)
    return into_sum, output, into_weight, into_bias


def linear_gradients(grad: Tensor, entered: Tensor, weight: bool, bias: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of a linear layer's weight and bias, fp32, those that are wanted."""
    return (
        torch.mm(grad.t(), entered).float() if weight else None,
        grad.sum(dim=0).float() if bias else None,
    )


# ------------------------------------------------------------------------------------------------------- feed-forward


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, choices: BlockChoices, *weights: Tensor) -> Tensor:
        into, into_bias, out, out_bias, norm, norm_bias = weights
        dtype = choices.dtype
        entered = hidden.to(dtype)
        inner = torch.addmm(into_bias.to(dtype), entered, into.to(dtype).t())
        active = torch.relu(inner) if choices.approximate is None else aten.gelu(inner, approximate=choices.approximate)
        output = torch.addmm(out_bias.to(dtype), active, out.to(dtype).t())
        normed, closing = add_and_norm(hidden, output, norm, norm_bias, choices)
        ctx.choices = choices
        ctx.save_for_backward(into, out, norm, norm_bias, entered, inner, active, *closing)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        into, out, norm, norm_bias, entered, inner, active, *closing = ctx.saved_tensors
        choices: BlockChoices = ctx.choices
        for_hidden, _, *wanted = ctx.needs_input_grad
        through, output, norm_grad, norm_bias_grad = add_and_norm_gradients(
            grad, closing, norm, norm_bias, wanted[4:6], choices
        )
        out_grads = linear_gradients(output, active, *wanted[2:4])
        change = torch.mm(output, out.to(choices.dtype))
        if choices.approximate is None:
            aten.threshold_backward.grad_input(change, inner, 0, grad_input=change)
        else:
            aten.gelu_backward.grad_input(change, inner, approximate=choices.approximate, grad_input=change)
        into_grads = linear_gradients(change, entered, *wanted[0:2])
        if for_hidden:
            through.add_(torch.mm(change, into.to(choices.dtype)))
        return (through if for_hidden else None, None, *into_grads, *out_grads, norm_grad, norm_bias_grad)


# ---------------------------------------------------------------------------------------------------------- attention


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor | None, choices: BlockChoices, *weights: Tensor) -> Tensor:
        query, query_bias, key, key_bias, value, value_bias, out, out_bias, norm, norm_bias = weights
        layout, dtype = choices.layout, choices.dtype
        assert layout is not None
        entered = hidden.to(dtype)
        keyed = asked = all_tokens(layout, choices.heads)
        asking, residual = entered, hidden
        if rows is None:
            bias = joined(dtype, query_bias, key_bias, value_bias)
            projected = torch.addmm(bias, entered, joined(dtype, query, key, value).t())
            rectangles: list[tuple[Tensor, ...]] = list(keyed.spread(projected, 3))
        else:
            # Keys and values of all tokens, queries of the chosen ones alone.
            asked = chosen_tokens(layout, choices.heads, rows)
            asking, residual = entered.index_select(0, rows), hidden.index_select(0, rows)
            asked_for = torch.addmm(query_bias.to(dtype), asking, query.to(dtype).t())
            projected = torch.addmm(joined(dtype, key_bias, value_bias), entered, joined(dtype, key, value).t())
            rectangles = [
                (*one, *two) for one, two in zip(asked.spread(asked_for, 1), keyed.spread(projected, 2), strict=True)
            ]
        mixing: list[Tensor | None] = []
        contexts = []
        for (queries, keys, values), group in zip(rectangles, layout.groups, strict=True):
            shares, kept, mixed = mix(queries, keys, values, group.mask, choices)
            mixing += queries, keys, values, shares, kept
            contexts.append((mixed,))
        context = asked.gather(contexts)
        output = torch.addmm(out_bias.to(dtype), context, out.to(dtype).t())
        normed, closing = add_and_norm(residual, output, norm, norm_bias, choices)
        ctx.choices, ctx.asked, ctx.keyed = choices, asked, keyed
        ctx.save_for_backward(
            query, key, value, out, norm, norm_bias, rows, entered, asking, context, *closing, *mixing
        )
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, value, out, norm, norm_bias, rows, entered, asking, context, *others = ctx.saved_tensors
        closing, mixing = others[:4], others[4:]
        choices: BlockChoices = ctx.choices
        asked: Rectangles = ctx.asked
        keyed: Rectangles = ctx.keyed
        dtype = choices.dtype
        for_hidden, _, _, *wanted = ctx.needs_input_grad
        through, output, norm_grad, norm_bias_grad = add_and_norm_gradients(
            grad, closing, norm, norm_bias, wanted[8:10], choices
        )
        out_grads = linear_gradients(output, context, *wanted[6:8])
        parts = [
            mix_gradients(change, *mixing[5 * number : 5 * number + 5], choices=choices)
            for number, (change,) in enumerate(asked.spread(torch.mm(output, out.to(dtype)), 1))
        ]
        if rows is None:
            projected = keyed.gather(parts)
            weight, bias = linear_gradients(projected, entered, any(wanted[0:6:2]), any(wanted[1:6:2]))
            weights, biases = divided(weight, 3), divided(bias, 3)
            if for_hidden:
                through.add_(torch.mm(projected, joined(dtype, query, key, value)))
        else:
            queries = asked.gather([one[:1] for one in parts])
            projected = keyed.gather([one[1:] for one in parts])
            first, first_bias = linear_gradients(queries, asking, *wanted[0:2])
            weight, bias = linear_gradients(projected, entered, any(wanted[2:6:2]), any(wanted[3:6:2]))
            weights, biases = [first, *divided(weight, 2)], [first_bias, *divided(bias, 2)]
            if for_hidden:
                through.add_(torch.mm(queries, query.to(dtype)))
                everywhere = torch.mm(projected, joined(dtype, key, value)).float()
                # a token may have been chosen twice
                through = everywhere.index_add_(0, rows, through)
        pairs = zip(weights, biases, strict=True)
        projections = [one if want else None for one, want in zip(itertools.chain(*pairs), wanted[:6], strict=True)]
        return (through if for_hidden else None, None, None, *projections, *out_grads, norm_grad, norm_bias_grad)


_feed_forward: Callable[..., Tensor] = _FeedForward.apply
_attention: Callable[..., Tensor] = _Attention.apply


def joined(dtype: torch.dtype, *parts: Tensor) -> Tensor:
    """Return the parts one under another in `dtype`."""
    height = len(parts[0])
    whole = parts[0].new_empty((len(parts) * height, *parts[0].shape[1:]), dtype=dtype)
    for number, part in enumerate(parts):
        whole[number * height : (number + 1) * height].copy_(part)
    return whole


def divided(whole: Tensor | None, parts: int) -> list[Tensor | None]:
    """Undo `joined`."""
    return [None] * parts if whole is None else list(whole.chunk(parts))


def mix(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, choices: BlockChoices
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the weights before dropout, [R * A, L, K], what dropout keeps of them, and the mixed values."""
    weights = attention_weights(query, key, mask, choices.heads)
    if not choices.weights_dropout:
        return weights, None, torch.bmm(weights, value)
    kept = keep_mask(weights.shape, choices.weights_dropout)
    dropped = weights.clone()
    drop_in_place(dropped, kept)
    rate = keep_scale(choices.weights_dropout)
    return weights, kept, torch.baddbmm(query.new_empty(()), dropped, value, beta=0.0, alpha=rate)


def mix_gradients(
    mixed: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Tensor,
    kept: Tensor | None,
    *,
    choices: BlockChoices,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value, [R * A, L, D] each, from that of the mixed values.

    Products with a transposed matrix of weights are slow; what is transposed here are the narrow ones.
    """
    scale, empty = query.shape[-1] ** -0.5, query.new_empty(())
    if kept is None:
        dropped = weights
    else:
        mixed = mixed * keep_scale(choices.weights_dropout)
        dropped = weights.clone()
        drop_in_place(dropped, kept)
    into_value = torch.bmm(mixed.transpose(1, 2).contiguous(), dropped).transpose(1, 2)
    scores = torch.bmm(mixed, value.transpose(1, 2))
    if kept is not None:
        drop_in_place(scores, kept)
    aten._softmax_backward_data.out(scores, weights, -1, weights.dtype, grad_input=scores)
    into_query = torch.baddbmm(empty, scores, key, beta=0.0, alpha=scale)
    turned = query.transpose(1, 2).contiguous()
    into_key = torch.baddbmm(empty, turned, scores, beta=0.0, alpha=scale).transpose(1, 2)
    return into_query, into_key, into_value
