"""An encoder whose passes run over weights laid out once, with as few calls as the processor allows.

One product for query, key and value; activation and residual sums inside of the products; no padding; nothing kept for
a way back. Blocks that several passes share are laid out once, so that the second pass finds them in the cache.

S tokens, H hidden width, A heads, M chosen tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.inference.int8_plan import Int8Plan
from albertine.inference.kernels import Int8Linear, Int8Weight, LinearKernel, float_linear
from albertine.inference.precision import Precision, reduced
from albertine.inference.products import Product, joined_layers, layers_of, parts_of_pass
from albertine.models.attention import Layout
from albertine.models.encoder import Encoder
from albertine.models.outputs import PassOutput
from albertine.models.rectangles import all_tokens, attention_weights, chosen_tokens

__all__ = ["FusedEncoder", "Watch", "inference_copy"]

_FEW = 64
"""Tokens up to which one call of PyTorch's attention takes less time than the products and copies."""

Watch = Callable[[int, Product, Tensor], None]
"""Shown what enters a product of a pass."""
_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, values: Tensor) -> Tensor:
        normed, _, _ = torch.native_layer_norm(values, (values.shape[-1],), self.weight, self.bias, self.epsilon)
        return normed


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """One pass: its products and norms."""

    heads: int
    projected: LinearKernel
    """Queries, keys and values, [S, 3 H]."""
    divided: Callable[[], tuple[LinearKernel, LinearKernel]]
    """Makes the products of queries alone, and of keys and values alone."""
    output: LinearKernel
    attention_norm: _Norm
    inner: LinearKernel
    outer: LinearKernel
    feed_forward_norm: _Norm
    pre_norm: bool

    @property
    def kernels(self) -> tuple[int, ...]:
        """Which products it runs."""
        return tuple(id(one) for one in (self.projected, self.output, self.inner, self.outer))

    @cached_property
    def parts(self) -> tuple[LinearKernel, LinearKernel]:
        """The two products where few tokens ask: made when first needed, since most passes never do."""
        return self.divided()

    def __call__(self, hidden: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
        """Return the states after the pass, [S, H], or [M, H] of the chosen rows."""
        entering = self.attention_norm(hidden) if self.pre_norm else hidden
        if len(layout.groups) == 1 and len(hidden) <= _FEW:
            context = _mixed_at_once(self.projected(entering), layout, self.heads)
            if rows is not None:
                context, hidden = context.index_select(0, rows), hidden.index_select(0, rows)
        else:
            context, hidden = self._context(entering, hidden, layout, rows)
        mixed = self.output.added(context, hidden)
        if self.pre_norm:
            return self.outer.added(self.inner(self.feed_forward_norm(mixed)), mixed)
        mixed = self.attention_norm(mixed)
        return self.feed_forward_norm(self.outer.added(self.inner(mixed), mixed))

    def _context(self, entering: Tensor, hidden: Tensor, layout: Layout, rows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the mixed values and the residual, of all tokens or of the chosen rows."""
        keyed = asked = all_tokens(layout, self.heads)
        if rows is None:
            rectangles = list(keyed.spread(self.projected(entering), 3))
        else:
            asking, answering = self.parts
            asked = chosen_tokens(layout, self.heads, rows)
            hidden = hidden.index_select(0, rows)
            queries = asked.spread(asking(entering.index_select(0, rows)), 1)
            others = keyed.spread(answering(entering), 2)
            rectangles = [(*one, *two) for one, two in zip(queries, others, strict=True)]
        contexts = [
            (torch.bmm(attention_weights(queries, keys, group.mask, self.heads), values),)
            for (queries, keys, values), group in zip(rectangles, layout.groups, strict=True)
        ]
        return asked.gather(contexts), hidden


class FusedEncoder(Encoder):
    """An encoder for inference: the same steps and the same answers but for rounding, without gradients.

    Args:
        encoder: its blocks are laid out anew; they are kept as they are too, for `output_attentions`.
        precision: of the products and of the states between them; what leaves the encoder is float32.
        plan: products that run in int8 instead.
        depth: passes that are run where `forward` is not told; None for all.
        watch: called with pass, product and what enters it, [S, K]; for those who make a plan.
    """

    def __init__(
        self,
        encoder: Encoder,
        precision: Precision,
        plan: Int8Plan | None = None,
        *,
        depth: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        nn.Module.__init__(self)
        self.config = encoder.config
        self.states = torch.bfloat16 if precision == "bf16" else torch.float32
        self.embeddings = self._laid_out(encoder.embeddings)
        self.attention_blocks = encoder.attention_blocks
        self.feed_forward_blocks = encoder.feed_forward_blocks
        self.pooler = None if encoder.pooler is None else self._laid_out(encoder.pooler)
        layers = _Layers(encoder, self.states, plan, watch)
        self._fused = [layers.laid_out(index) for index in range(self.config.num_passes)]
        self.uniform = len({one.kernels for one in self._fused}) == 1
        """Whether every pass computes the same, so that texts at different depths can share it."""
        self._depth = super()._passes(depth)

    def run_pass(
        self,
        index: int,
        hidden: Tensor,
        layout: Layout,
        *,
        output_attentions: bool = False,
        rows: Tensor | None = None,
    ) -> PassOutput:
        """Run a pass as `Encoder.run_pass` does; the states are [B, T, H] or [S, H] of `states`' type."""
        if output_attentions:
            return super().run_pass(index, hidden.float(), layout, output_attentions=True, rows=rows)
        flat = hidden.reshape(-1, hidden.shape[-1]).to(self.states)
        done = self._fused[index](flat, layout, rows)
        return PassOutput(hidden=done if rows is not None else done.view(hidden.shape), attention=None)

    def leave(self, hidden: Tensor) -> Tensor:
        """Return the last states as float32."""
        return hidden.float()

    def _laid_out(self, part: _ModuleT) -> _ModuleT:
        """Return a copy of a part whose linear layers are laid out, all else shared."""
        layers = {id(one): _Fixed(one, self.states) for one in part.modules() if isinstance(one, nn.Linear)}
        return reduced(part, "fp32", instead=layers)

    def _passes(self, depth: int | None) -> int:
        return super()._passes(self._depth if depth is None else depth)


class _Fixed(nn.Module):
    """A linear layer that is laid out.

    Args:
        layer: its weights are copied.
        dtype: of inputs and outputs.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self._kernel = float_linear(layer.weight, layer.bias, dtype)
        self._dtype = dtype

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [..., N] of [..., K]."""
        outputs = self._kernel(inputs.reshape(-1, inputs.shape[-1]).to(self._dtype))
        return outputs.view(*inputs.shape[:-1], -1)


class _Layers:
    """Lays out the products of an encoder, every matrix once.

    Args:
        encoder: whose blocks consist of plain layers.
        states: type of what is not in int8.
        plan: products in int8.
        watch: see `FusedEncoder`.
    """

    def __init__(self, encoder: Encoder, states: torch.dtype, plan: Int8Plan | None, watch: Watch | None) -> None:
        self._encoder = encoder
        self._states = states
        self._ranges = {} if plan is None else plan.ranges
        self._watch = watch
        self._floats: dict[tuple[int, ...], LinearKernel] = {}
        self._integers: dict[tuple[int, ...], Int8Weight] = {}
        """What is laid out, by the layers whose weights it has."""

    def laid_out(self, index: int) -> _Pass:
        """Return pass `index`."""
        mixing, mapping = parts_of_pass(self._encoder, index)
        query, key, value = layers_of(self._encoder, index, "projected")
        return _Pass(
            heads=mixing.num_attention_heads,
            projected=self._product(index, "projected", query, key, value),
            divided=lambda: (
                self._product(index, "projected", query),
                self._product(index, "projected", key, value),
            ),
            output=self._product(index, "output"),
            attention_norm=self._norm(mixing.layer_norm),
            inner=self._product(index, "inner"),
            outer=self._product(index, "outer"),
            feed_forward_norm=self._norm(mapping.layer_norm),
            pre_norm=mixing.pre_norm,
        )

    def _product(self, index: int, product: Product, *layers: nn.Linear) -> LinearKernel:
        """Lay out a product, or of its layers those that are named."""
        layers = layers or layers_of(self._encoder, index, product)
        activation = self._encoder.config.hidden_act if product == "inner" else "none"
        inputs = self._ranges.get((index, product))
        known = tuple(id(layer) for layer in layers)
        if inputs is None:
            if known not in self._floats:
                self._floats[known] = float_linear(*joined_layers(layers), self._states, activation)
            kernel: LinearKernel = self._floats[known]
        else:
            if known not in self._integers:
                self._integers[known] = Int8Weight.of(*joined_layers(layers), inputs.channels)
            outputs = self._ranges.get((index, "outer")) if product == "inner" else None
            kernel = Int8Linear(self._integers[known], inputs, self._states, activation, outputs)
        if self._watch is None:
            return kernel
        return _Watched(kernel, functools.partial(self._watch, index, product))

    def _norm(self, norm: nn.LayerNorm) -> _Norm:
        return _Norm(norm.weight.detach().to(self._states), norm.bias.detach().to(self._states), norm.eps)


@dataclass(frozen=True, slots=True)
class _Watched:
    kernel: LinearKernel
    seen: Callable[[Tensor], None]

    def __call__(self, inputs: Tensor) -> Tensor:
        self.seen(inputs)
        return self.kernel(inputs)

    def added(self, inputs: Tensor, residual: Tensor) -> Tensor:
        self.seen(inputs)
        return self.kernel.added(inputs, residual)


def inference_copy(
    module: _ModuleT,
    precision: Precision,
    plan: Int8Plan | None = None,
    *,
    depth: int | None = None,
    watch: Watch | None = None,
) -> _ModuleT:
    """Return a copy of a module that answers the same and faster; it shares what it does not lay out anew.

    Encoders become fused ones, other linear layers hold their weights in the precision of their products. An encoder
    with replaced or hooked parts (adapters, pruning), in another type or on another device stays as it is.

    Args:
        module: in evaluation mode; it must not be trained any more.
        precision: of the matrix products.
        plan: products of its encoder that run in int8.
        depth: see `FusedEncoder`.
        watch: see there.

    Raises:
        ConfigError: the encoder has no such depth.
    """
    fused = {
        id(part): FusedEncoder(part, precision, plan, depth=depth, watch=watch)
        for part in module.modules()
        if isinstance(part, Encoder) and _is_plain(part)
    }
    return reduced(module, precision, instead=fused)


def _is_plain(encoder: Encoder) -> bool:
    """Say whether an encoder is in fp32 on the processor and its blocks consist of nothing but what `Encoder` has."""
    words = encoder.embeddings.word_embeddings.weight
    if type(encoder) is not Encoder or words.device.type != "cpu" or words.dtype != torch.float32:
        return False
    blocks = [*encoder.attention_blocks.modules(), *encoder.feed_forward_blocks.modules()]
    return all(
        not (part._forward_hooks or part._forward_pre_hooks)
        and (type(part).__module__.startswith("albertine.") or type(part) in (nn.Linear, nn.LayerNorm, nn.ModuleList))
        for part in blocks
    )


def _mixed_at_once(projected: Tensor, layout: Layout, heads: int) -> Tensor:
    """Attention of few tokens, [S, 3 H] to [S, H], in one call: less arithmetic a second, and fewer calls."""
    group = layout.groups[0]
    if layout.slots is not None:
        projected = projected.new_zeros(group.rows * group.length, projected.shape[-1]).index_copy_(
            0, layout.slots, projected
        )
    query, key, value = projected.view(group.rows, group.length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind()
    mask = None if group.mask is None else group.mask.to(projected.dtype)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2).flatten(0, 1)
    return mixed if layout.slots is None else mixed.index_select(0, layout.slots)
