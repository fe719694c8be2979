"""The decoder's attention: over what has been written so far, and across to the source.

S target tokens, M source tokens, H hidden width, A heads, D = H / A; of a rectangle R rows, L target tokens in a row,
K tokens that are looked at in a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from albertine.models.attention import HIDDEN_KEY, Layout, attend
from albertine.models.config import EncoderConfig
from albertine.models.layers import Dropout
from albertine.models.rectangles import Rectangles, all_tokens
from albertine.models.training_blocks import (
    BlockChoices,
    add_and_norm,
    add_and_norm_gradients,
    divided,
    joined,
    linear_gradients,
    mix,
    mix_gradients,
    product_dtype,
    usable,
)

__all__ = ["DecoderAttention", "View", "across", "backwards"]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Which tokens look at which; made once a forward and used by every pass."""

    asking: Rectangles
    """The tokens that look."""
    seen: Rectangles
    """The tokens that are looked at, by those in the same rectangle and row."""
    masks: tuple[Tensor | None, ...]
    """For every rectangle what is added to the scores, fp32, [1, 1, L, K] or [R, 1, 1, K]; None where all is seen."""


def backwards(layout: Layout, heads: int) -> View:
    """Let every token look at itself and at those before it in its text.

    Nothing else has to be hidden: what fills a row up comes after the text's last token.

    Args:
        layout: of the target tokens; where it is padded, on the right.
        heads: A.
    """
    tokens = all_tokens(layout, heads)
    device = layout.positions.device
    masks = [
        torch.full((length, length), HIDDEN_KEY, device=device).triu_(1)[None, None] if length > 1 else None
        for _, length in tokens.shapes
    ]
    return View(asking=tokens, seen=tokens, masks=tuple(masks))


def across(target: Layout, source: Layout, heads: int) -> View:
    """Let every target token look at all tokens of its own source.

    Args:
        target: packed or padded.
        source: of as many texts in the same order, and packed where the target is.
        heads: A.
    """
    asking = all_tokens(target, heads)
    assert target.texts == source.texts, "a source for every target"
    if target.starts is None or source.starts is None:
        assert target.starts is source.starts, "both packed or both padded"
        return View(asking=asking, seen=all_tokens(source, heads), masks=(source.groups[0].mask,))
    device = source.positions.device
    target_starts, source_starts = target.starts.cpu(), source.starts.cpu()
    first_slots = target_starts[:-1] if target.slots is None else target.slots.cpu()[target_starts[:-1]]
    lengths = source_starts.diff()
    row_starts = torch.empty(len(lengths), dtype=torch.int64)
    shapes: list[tuple[int, int]] = []
    masks: list[Tensor | None] = []
    begin = offset = 0
    for rows, length in asking.shapes:
        texts = ((first_slots >= begin) & (first_slots < begin + rows * length)).nonzero().squeeze(1)
        texts = texts[torch.argsort(first_slots[texts])]  # by their row
        longest = int(lengths[texts].max())
        row_starts[texts] = offset + torch.arange(rows) * longest
        beyond = torch.arange(longest) >= lengths[texts].unsqueeze(1)
        masks.append((beyond * HIDDEN_KEY)[:, None, None, :].to(device) if bool(beyond.any()) else None)
        shapes.append((rows, longest))
        begin, offset = begin + rows * length, offset + rows * longest
    text_of_token = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    slots = row_starts[text_of_token] + source.positions.cpu()
    return View(asking=asking, seen=Rectangles(shapes, slots.to(device), heads), masks=tuple(masks))


class DecoderAttention(nn.Module):
    """Multi-head attention with its residual and its norm; its parameters are named and shaped as `AttentionBlock`'s.

    Training on the processor takes a backward pass written by hand, see `training_blocks`.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm_placement == "pre"
        self.num_attention_heads = config.num_attention_heads
        self.attention_dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, view: View, memory: Tensor | None = None) -> Tensor:
        """Mix into every target token what it looks at.

        Args:
            hidden: [B, T, H] padded or [S, H] packed, the target's states.
            view: who looks at whom.
            memory: [B, K, H] or [M, H], the source's states; None to look at the target's own.
        """
        if usable(self, hidden):
            return _in_training(self, hidden, view, memory)
        entering = self.layer_norm(hidden) if self.pre_norm else hidden
        looked_at = entering if memory is None else memory
        asked = self.query(entering).flatten(0, -2)
        offered = torch.cat([self.key(looked_at), self.value(looked_at)], dim=-1).flatten(0, -2)
        contexts = []
        for (query,), (key, value), mask in zip(
            view.asking.spread(asked, 1), view.seen.spread(offered, 2), view.masks, strict=True
        ):
            mixed, _ = attend(
                self._heads(query),
                self._heads(key),
                self._heads(value),
                mask,
                dropout=self.attention_dropout if self.training else 0.0,
            )
            contexts.append((mixed.flatten(0, 1),))
        context = view.asking.gather(contexts).view(hidden.shape)
        summed: Tensor = hidden + self.dropout(self.output(context))
        return summed if self.pre_norm else self.layer_norm(summed)

    def _heads(self, rectangle: Tensor) -> Tensor:
        return rectangle.view(-1, self.num_attention_heads, *rectangle.shape[1:])


# ------------------------------------------------------------------------- training on the processor, as in the encoder


def _in_training(block: DecoderAttention, hidden: Tensor, view: View, memory: Tensor | None) -> Tensor:
    dtype = product_dtype()
    assert dtype is not None, "the block was found usable"
    choices = BlockChoices(
        dtype=dtype,
        epsilon=block.layer_norm.eps,
        dropout=block.dropout.chance if block.training else 0.0,
        weights_dropout=block.attention_dropout if block.training else 0.0,
        heads=block.num_attention_heads,
    )
    parts = (block.query, block.key, block.value, block.output, block.layer_norm)
    weights = [one for part in parts for one in (part.weight, part.bias)]
    with torch.autocast("cpu", enabled=False):
        flat = hidden.reshape(-1, hidden.shape[-1]).float()
        source = None if memory is None else memory.reshape(-1, memory.shape[-1]).float()
        mixed = _attention(flat, source, view, choices, *weights)
    return mixed.view(hidden.shape)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, memory: Tensor | None, view: View, choices: BlockChoices, *weights: Tensor
    ) -> Tensor:
        query, query_bias, key, key_bias, value, value_bias, out, out_bias, norm, norm_bias = weights
        dtype = choices.dtype
        entered = hidden.to(dtype)
        rectangles: list[tuple[Tensor, ...]]
        if memory is None:
            looked_at = entered
            bias = joined(dtype, query_bias, key_bias, value_bias)
            projected = torch.addmm(bias, entered, joined(dtype, query, key, value).t())
            rectangles = list(view.seen.spread(projected, 3))
        else:
            looked_at = memory.to(dtype)
            asked = torch.addmm(query_bias.to(dtype), entered, query.to(dtype).t())
            bias = joined(dtype, key_bias, value_bias)
            offered = torch.addmm(bias, looked_at, joined(dtype, key, value).t())
            rectangles = [
                (*one, *two)
                for one, two in zip(view.asking.spread(asked, 1), view.seen.spread(offered, 2), strict=True)
            ]
        mixing: list[Tensor | None] = []
        contexts = []
        for (queries, keys, values), mask in zip(rectangles, view.masks, strict=True):
            shares, kept, mixed = mix(queries, keys, values, mask, choices)
            mixing += queries, keys, values, shares, kept
            contexts.append((mixed,))
        context = view.asking.gather(contexts)
        output = torch.addmm(out_bias.to(dtype), context, out.to(dtype).t())
        normed, closing = add_and_norm(hidden, output, norm, norm_bias, choices)
        ctx.choices, ctx.view, ctx.own = choices, view, memory is None
        ctx.save_for_backward(query, key, value, out, norm, norm_bias, entered, looked_at, context, *closing, *mixing)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        query, key, value, out, norm, norm_bias, entered, looked_at, context, *others = ctx.saved_tensors
        closing, mixing = others[:4], others[4:]
        choices: BlockChoices = ctx.choices
        view: View = ctx.view
        dtype = choices.dtype
        for_hidden, for_memory, _, _, *wanted = ctx.needs_input_grad
        through, output, norm_grad, norm_bias_grad = add_and_norm_gradients(
            grad, closing, norm, norm_bias, wanted[8:10], choices
        )
        out_grads = linear_gradients(output, context, *wanted[6:8])
        parts = [
            mix_gradients(change, *mixing[5 * number : 5 * number + 5], choices=choices)
            for number, (change,) in enumerate(view.asking.spread(torch.mm(output, out.to(dtype)), 1))
        ]
        into_memory = None
        if ctx.own:
            projected = view.seen.gather(parts)
            weight, bias = linear_gradients(projected, entered, any(wanted[0:6:2]), any(wanted[1:6:2]))
            weights, biases = divided(weight, 3), divided(bias, 3)
            if for_hidden:
                through.add_(torch.mm(projected, joined(dtype, query, key, value)))
        else:
            asked = view.asking.gather([one[:1] for one in parts])
            offered = view.seen.gather([one[1:] for one in parts])
            first, first_bias = linear_gradients(asked, entered, *wanted[0:2])
            weight, bias = linear_gradients(offered, looked_at, any(wanted[2:6:2]), any(wanted[3:6:2]))
            weights, biases = [first, *divided(weight, 2)], [first_bias, *divided(bias, 2)]
            if for_hidden:
                through.add_(torch.mm(asked, query.to(dtype)))
            if for_memory:
                into_memory = torch.mm(offered, joined(dtype, key, value)).float()
        pairs = zip(weights, biases, strict=True)
        projections = [one if want else None for one, want in zip(itertools.chain(*pairs), wanted[:6], strict=True)]
        into_hidden = through if for_hidden else None
        return (into_hidden, into_memory, None, None, *projections, *out_grads, norm_grad, norm_bias_grad)


_attention: Callable[..., Tensor] = _Attention.apply
