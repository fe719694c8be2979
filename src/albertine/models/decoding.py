"""The decoder one token at a time, with the keys and values of what has been written kept.

N texts, K alternatives of each that are written side by side, M source tokens, L the longest source, T tokens written,
H hidden width, A heads, D = H / A, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.models.attention import HIDDEN_KEY
from albertine.models.decoder import Decoder
from albertine.models.decoder_attention import DecoderAttention
from albertine.models.layers import FeedForwardBlock, activate
from albertine.models.rectangles import Rectangles

__all__ = ["Decoding"]

_Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Keys and values of the sources in one block; passes that share the block share them."""

    keys: Tensor
    """[N * A, L, D]."""
    values: Tensor
    """[N * A, L, D]."""


class Decoding:
    """Writes K alternatives for each of N texts, one token a step.

    A new token's keys and values go behind those of all alternatives that were written before, [N * A, T * K, D], and
    never move: which of them are an alternative's own past is said by a mask, which is what `reorder` moves. An
    alternative is held against the keys of all K, which is K times the arithmetic of a part that has little of it;
    every key is read once a step, and the pasts are never copied. The sources' keys and values are made once, and are
    not repeated for the alternatives.

    Works in the type of the products: `torch.autocast`'s where it is on, else the weights'. Weights are brought into it
    once, not at every step. Parts that are not plain linear layers (LoRA, pruned or quantized ones) are called as they
    are.

    Args:
        decoder: in evaluation mode; call everything without gradients.
        memory: [M, H] what the encoder made of the sources, one after another.
        lengths: tokens of every source, N of them.
        alternatives: K.
        longest: the most tokens that will be written, the first one ([CLS]) included.
        forbidden: ids that are never written; the others share their probability.
        vocabulary: ids from here on stand for no word, and are never written either; None where all stand for one.
    """

    def __init__(
        self,
        decoder: Decoder,
        memory: Tensor,
        lengths: Sequence[int],
        *,
        alternatives: int,
        longest: int,
        forbidden: Sequence[int] = (),
        vocabulary: int | None = None,
    ) -> None:
        config = decoder.config
        device = memory.device
        self.decoder = decoder
        self.texts, self.alternatives, self.longest = len(lengths), alternatives, longest
        self.heads = config.num_attention_heads
        self.length = 0
        self.dtype = (
            torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else decoder.table.dtype
        )
        self._scale = (config.hidden_size // self.heads) ** -0.5
        self._own = [_Attention(block, self.dtype, own=True) for block in decoder.self_attention_blocks]
        self._across = [_Attention(block, self.dtype, own=False) for block in decoder.cross_attention_blocks]
        self._inner = [_FeedForward(block, self.dtype) for block in decoder.feed_forward_blocks]
        self._sources, self._source_mask = self._read(memory, lengths)
        slots, width = longest * alternatives, config.hidden_size // self.heads
        # On the processor memory that is not written to is not taken: a text that ends early does not cost its longest.
        self._keys, self._values = (
            [
                torch.empty(self.texts * self.heads, slots, width, dtype=self.dtype, device=device)
                for _ in range(config.num_passes)
            ]
            for _ in range(2)
        )
        self._mask: Tensor | None = None
        if alternatives > 1:
            self._mask = torch.full((self.texts, alternatives, longest, alternatives), HIDDEN_KEY, device=device)
            alone = torch.full((alternatives, alternatives), HIDDEN_KEY, device=device)
            self._alone = alone.fill_diagonal_(0.0)
        self._words = None if decoder.output is None else _product(self.dtype, decoder.output)
        self._table = decoder.table.to(self.dtype)
        self._bias = decoder.bias.detach().to(self.dtype, copy=True)
        if forbidden:
            self._bias[list(forbidden)] = -torch.inf
        if vocabulary is not None:
            self._bias[vocabulary:] = -torch.inf

    def step(self, tokens: Tensor) -> Tensor:
        """Write one more token of every alternative, and return the scores of those that could follow.

        Args:
            tokens: [N, K] int64.

        Returns:
            [N * K, V] in the type of the products; -inf for what is forbidden. They may be overwritten.
        """
        assert self.length < self.longest, "there is room for so many tokens"
        decoder, place = self.decoder, self.length
        positions = torch.full((1,), place, device=tokens.device)
        # sums and norms stay in the weights' type, as in training
        hidden: Tensor = decoder.embeddings(tokens.flatten(), position_ids=positions).to(decoder.table.dtype)
        own = None
        if self._mask is not None:
            self._mask[:, :, place] = self._alone
            seen = self._mask[:, :, : place + 1].flatten(2).to(self.dtype)
            own = seen.repeat_interleave(self.heads, 0)
        with torch.autocast(tokens.device.type, enabled=False):
            for index in range(decoder.config.num_passes):
                blocks = decoder.config.blocks_of_pass(index)
                hidden = self._look_back(self._own[blocks.attention], index, hidden, own)
                hidden = self._look_across(self._across[blocks.attention], blocks.attention, hidden)
                hidden = self._inner[blocks.feed_forward](hidden)
            hidden = decoder.finish(hidden).to(self.dtype)
            words = hidden if self._words is None else self._words(hidden)
            self.length += 1
            return F.linear(words, self._table, self._bias)

    def reorder(self, parents: Tensor) -> None:
        """Let every alternative go on from another one of its text.

        Args:
            parents: [N, K] int64, in 0 … K-1.
        """
        if self._mask is not None:
            index = parents[:, :, None, None].expand_as(self._mask[:, :, : self.length])
            self._mask[:, :, : self.length] = self._mask[:, :, : self.length].gather(1, index)

    def keep(self, texts: Tensor) -> None:
        """Go on with some of the texts.

        Args:
            texts: their indices, int64, among those that are left.
        """
        filled = self.length * self.alternatives
        rows = (texts[:, None] * self.heads + torch.arange(self.heads, device=texts.device)).flatten()
        self.texts = len(texts)
        for kept in (self._keys, self._values):
            for place, one in enumerate(kept):
                fresh = one.new_empty(len(rows), *one.shape[1:])
                fresh[:, :filled] = one[:, :filled].index_select(0, rows)
                kept[place] = fresh
        self._sources = [
            _Source(keys=one.keys.index_select(0, rows), values=one.values.index_select(0, rows))
            for one in self._sources
        ]
        if self._source_mask is not None:
            self._source_mask = self._source_mask.index_select(0, rows)
        if self._mask is not None:
            self._mask = self._mask.index_select(0, texts)

    def _read(self, memory: Tensor, lengths: Sequence[int]) -> tuple[list[_Source], Tensor | None]:
        """Make the sources' keys and values for every block, and the mask of what fills the shorter ones up."""
        device, longest = memory.device, max(lengths)
        counts = torch.tensor(lengths)
        slots = torch.arange(len(memory)) + torch.repeat_interleave(
            torch.arange(len(lengths)) * longest - (counts.cumsum(0) - counts), counts
        )
        rows = Rectangles([(len(lengths), longest)], slots.to(device), self.heads)
        mask = None
        if min(lengths) < longest:
            beyond = (torch.arange(longest) >= counts[:, None]).to(device, self.dtype) * HIDDEN_KEY
            mask = beyond.repeat_interleave(self.heads, 0)[:, None]
        states = self.decoder.source_states(memory)
        with torch.autocast(device.type, enabled=False):
            states = states.to(self.dtype)
            made = [next(rows.spread(block.offers(states), 2)) for block in self._across]
        return [_Source(keys=keys, values=values) for keys, values in made], mask

    def _look_back(self, block: _Attention, index: int, hidden: Tensor, mask: Tensor | None) -> Tensor:
        first, last = self.length * self.alternatives, (self.length + 1) * self.alternatives
        projected = block.asks(block.enter(hidden).to(self.dtype))
        parts = projected.view(self.texts, self.alternatives, 3, self.heads, -1).permute(2, 0, 3, 1, 4).flatten(1, 2)
        self._keys[index][:, first:last] = parts[1]
        self._values[index][:, first:last] = parts[2]
        mixed = self._mixed(parts[0], self._keys[index][:, :last], self._values[index][:, :last], mask)
        return block.leave(hidden, mixed)

    def _look_across(self, block: _Attention, index: int, hidden: Tensor) -> Tensor:
        source = self._sources[index]
        asked = block.asks(block.enter(hidden).to(self.dtype))
        queries = asked.view(self.texts, self.alternatives, self.heads, -1).transpose(1, 2).flatten(0, 1)
        return block.leave(hidden, self._mixed(queries, source.keys, source.values, self._source_mask))

    def _mixed(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Return [N * K, H] of queries [N * A, K, D]."""
        shown, beta = (query.new_empty(()), 0.0) if mask is None else (mask, 1.0)
        scores = torch.baddbmm(shown, query, key.transpose(1, 2), beta=beta, alpha=self._scale)
        mixed = torch.bmm(torch.softmax(scores, dim=-1), value)
        return mixed.view(self.texts, self.heads, self.alternatives, -1).transpose(1, 2).flatten(2).flatten(0, 1)


class _Attention:
    """What a step needs of an attention block.

    Args:
        block: the decoder's.
        dtype: of the products.
        own: whether it looks at the target itself, so that queries, keys and values come from one state.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype, *, own: bool) -> None:
        assert isinstance(block, DecoderAttention)
        self.norm, self.pre_norm = block.layer_norm, block.pre_norm
        self.asks = _product(dtype, *((block.query, block.key, block.value) if own else (block.query,)))
        self.offers = self.asks if own else _product(dtype, block.key, block.value)
        self.output = _product(dtype, block.output)

    def enter(self, hidden: Tensor) -> Tensor:
        """Return what queries, and the keys and values of the target, are made of."""
        return self.norm(hidden) if self.pre_norm else hidden

    def leave(self, hidden: Tensor, mixed: Tensor) -> Tensor:
        """Bring what was looked at into the states."""
        summed = hidden + self.output(mixed)
        return summed if self.pre_norm else self.norm(summed)


class _FeedForward:
    """What a step needs of a feed-forward block; the arguments are those of `_Attention`."""

    def __init__(self, block: nn.Module, dtype: torch.dtype) -> None:
        assert isinstance(block, FeedForwardBlock)
        self.norm, self.pre_norm, self.hidden_act, self.dtype = (
            block.layer_norm,
            block.pre_norm,
            block.hidden_act,
            dtype,
        )
        self.intermediate, self.output = _product(dtype, block.intermediate), _product(dtype, block.output)

    def __call__(self, hidden: Tensor) -> Tensor:
        """Map [N * K, H] to [N * K, H]."""
        entering = self.norm(hidden) if self.pre_norm else hidden
        inner = activate(self.intermediate(entering.to(self.dtype)), self.hidden_act)
        summed = hidden + self.output(inner)
        return summed if self.pre_norm else self.norm(summed)


def _product(dtype: torch.dtype, *parts: nn.Module) -> _Map:
    """Return linear layers over one input as one function, their outputs side by side."""
    plain = [part for part in parts if type(part) is nn.Linear and not _hooked(part)]
    if len(plain) == len(parts):
        weights: list[Tensor] = [one.weight for one in plain]
        biases: list[Tensor] = [one.bias for one in plain]
        weight = (weights[0] if len(plain) == 1 else torch.cat(weights)).to(dtype)
        bias = (biases[0] if len(plain) == 1 else torch.cat(biases)).to(dtype)
        return lambda states: F.linear(states, weight, bias)

    mixed = dtype in (torch.bfloat16, torch.float16)

    def called(states: Tensor) -> Tensor:
        with torch.autocast(states.device.type, dtype=dtype if mixed else None, enabled=mixed):
            return torch.cat([part(states) for part in parts], dim=-1).to(dtype)

    return called


def _hooked(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks)
