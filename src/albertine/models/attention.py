"""Self-attention, and the layout that says which token may look at which.

B rows, T positions of a padded row, N texts, S tokens of a packed batch, H hidden width, A heads, D = H / A.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.errors import ConfigError
from albertine.models import training_blocks
from albertine.models.config import EncoderConfig
from albertine.models.layers import Dropout, drop
from albertine.models.outputs import PassOutput

__all__ = ["HIDDEN_KEY", "AttentionBlock", "Layout", "RowGroup", "attend", "packed_layout", "padded_layout"]

HIDDEN_KEY = -10_000.0
"""Added to the scores of keys that must not be seen. As in Google's code it is finite, so that a row of padding only
gives numbers instead of NaN, and it fits every floating-point type."""

# Texts packed together are laid out in one rectangle as long as every text fills at least this share of its row.
_LEAST_FILL = 0.85
# Below this many attention scores saved, one more rectangle costs more in calls than it saves in arithmetic.
_WORTHWHILE_SCORES = 16_384
# Texts of one length that follow each other are a rectangle as they lie. Bringing a batch into fewer ones takes as long
# as the calls for one more rectangle where there are so many tokens for each.
_WORTHWHILE_RUN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """A rectangle of texts that attention treats together."""

    rows: int
    length: int
    mask: Tensor | None
    """[rows, 1, 1, length] float32 added to the scores; None where every position is real."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the tokens of every text lie; made once a forward and used by every pass."""

    positions: Tensor
    """[T] padded, [S] packed: the place of every token in its text."""
    starts: Tensor | None
    """[N+1] first token of every packed text and the end; None in a padded batch."""
    groups: tuple[RowGroup, ...]
    """The rectangles, one after another in memory."""
    slots: Tensor | None
    """[S] the place of every packed token in those rectangles; None where the tokens already lie so."""

    @property
    def texts(self) -> int:
        """Number of texts: N, or B where padded."""
        return sum(group.rows for group in self.groups)

    @property
    def longest(self) -> int:
        """Tokens of the longest text (the row length, where padded)."""
        return max(group.length for group in self.groups)


def padded_layout(rows: int, length: int, attention_mask: Tensor | None, device: torch.device) -> Layout:
    """Lay out a padded batch.

    Args:
        rows: B.
        length: T.
        attention_mask: [B, T], 1 or True for real tokens; None where all are.
        device: where the tokens are.

    Raises:
        ConfigError: the mask has another shape.
    """
    mask = None
    if attention_mask is not None:
        if attention_mask.shape != (rows, length):
            raise ConfigError(
                "attention_mask does not fit the input",
                where="attention_mask",
                received=f"shape {tuple(attention_mask.shape)}",
                allowed=f"shape ({rows}, {length})",
            )
        mask = ((1.0 - attention_mask.to(torch.float32)) * HIDDEN_KEY)[:, None, None, :]
    return Layout(
        positions=torch.arange(length, device=device),
        starts=None,
        groups=(RowGroup(rows=rows, length=length, mask=mask),),
        slots=None,
    )


def packed_layout(sequence_starts: Tensor, tokens: int, device: torch.device) -> Layout:
    """Lay out a packed batch: texts of similar length share a rectangle, longest first.

    Args:
        sequence_starts: [N+1].
        tokens: S.
        device: where the tokens are.

    Raises:
        ConfigError: the starts do not rise from 0 to S.
    """
    starts: list[int] = sequence_starts.tolist()
    lengths = [end - start for start, end in itertools.pairwise(starts)]
    if len(starts) < 2 or starts[0] != 0 or starts[-1] != tokens or min(lengths) < 1:
        raise ConfigError(
            "sequence_starts do not divide the tokens into texts",
            where="sequence_starts",
            received=str(starts if len(starts) < 9 else [*starts[:4], "…", *starts[-4:]]),
            allowed=f"rising from 0 to {tokens}",
        )
    first = sequence_starts.to(device)
    if min(lengths) == max(lengths):
        group = RowGroup(rows=len(lengths), length=lengths[0], mask=None)
        positions = torch.arange(lengths[0], device=device)
        if len(lengths) > 1:
            positions = positions.repeat(len(lengths))
        return Layout(positions=positions, starts=first, groups=(group,), slots=None)

    length_of_text = torch.tensor(lengths)
    text_of_token = torch.repeat_interleave(torch.arange(len(lengths)), length_of_text)
    positions = torch.arange(tokens) - torch.tensor(starts)[text_of_token]
    runs = [(length, sum(1 for _ in same)) for length, same in itertools.groupby(lengths)]
    if _WORTHWHILE_RUN * len(runs) <= tokens:
        groups = [RowGroup(rows=rows, length=length, mask=None) for length, rows in runs]
        return Layout(positions=positions.to(device), starts=first, groups=tuple(groups), slots=None)

    order = sorted(range(len(lengths)), key=lambda text: -lengths[text])
    first_slot = torch.empty(len(lengths), dtype=torch.int64)
    groups = []
    offset = 0
    for texts in _similar(order, lengths):
        longest = lengths[texts[0]]
        first_slot[texts] = offset + torch.arange(len(texts)) * longest
        mask = None
        if lengths[texts[-1]] < longest:
            beyond = torch.arange(longest) >= length_of_text[texts].unsqueeze(1)
            mask = (beyond * HIDDEN_KEY)[:, None, None, :].to(device)
        groups.append(RowGroup(rows=len(texts), length=longest, mask=mask))
        offset += len(texts) * longest
    slots = (first_slot[text_of_token] + positions).to(device)
    return Layout(positions=positions.to(device), starts=first, groups=tuple(groups), slots=slots)


def _similar(order: list[int], lengths: list[int]) -> list[list[int]]:
    """Cut the texts, longest first, where the next is so short that a rectangle of its own pays."""
    groups: list[list[int]] = [[order[0]]]
    for place, text in enumerate(order[1:], start=1):
        longest = lengths[groups[-1][0]]
        # What the shorter rectangle saves, were every text from here on as long as this one.
        saved = (longest**2 - lengths[text] ** 2) * (len(order) - place)
        if lengths[text] < _LEAST_FILL * longest and saved > _WORTHWHILE_SCORES:
            groups.append([text])
        else:
            groups[-1].append(text)
    return groups


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, dropout: float = 0.0, fused: bool | None = None
) -> tuple[Tensor, Tensor | None]:
    """Scaled dot-product attention (arXiv:1706.03762 section 3.2.1).

    Args:
        query: [rows, A, length, D]; key and value alike.
        key: see query.
        value: see query.
        mask: [rows, 1, 1, length] added to the scores.
        dropout: share of the attention weights set to zero.
        fused: PyTorch's fused kernel; None takes it on every device but the CPU, where its backward is slow.

    Returns:
        The mixed values, [rows, A, length, D], and the weights before dropout, [rows, A, length, length], which the
        fused kernel does not give (None).
    """
    if fused is None:
        fused = query.device.type != "cpu"
    if fused:
        shown = None if mask is None else mask.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=shown, dropout_p=dropout), None
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-2, -1))
    if mask is not None:
        # In place: the product's gradient does not need the scores, and the matrix is the largest of the forward.
        scores += mask
    weights = torch.softmax(scores, dim=-1)
    return torch.matmul(drop(weights, dropout) if dropout else weights, value), weights


class AttentionBlock(nn.Module):
    """Multi-head self-attention with its residual and its norm."""

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

    def forward(
        self, hidden: Tensor, layout: Layout, *, output_attentions: bool = False, rows: Tensor | None = None
    ) -> PassOutput:
        """Mix every text's tokens.

        Args:
            hidden: [B, T, H] padded or [S, H] packed.
            layout: of the batch.
            output_attentions: give the weights too; padded input only.
            rows: [M] int64 tokens, counted over the flattened input, whose states alone are wanted; the result is then
                [M, H].
        """
        if not output_attentions and training_blocks.usable(self, hidden):
            mixed = training_blocks.attention_block(self, hidden, layout, rows)
            return PassOutput(hidden=mixed, attention=None)
        entering = self.layer_norm(hidden) if self.pre_norm else hidden
        queries, keys, values = (_spread(part(entering), layout) for part in (self.query, self.key, self.value))
        contexts: list[Tensor] = []
        weights: Tensor | None = None
        for query, key, value, group in zip(queries, keys, values, layout.groups, strict=True):
            mixed, weights = attend(
                self._heads(query, group),
                self._heads(key, group),
                self._heads(value, group),
                group.mask,
                dropout=self.attention_dropout if self.training else 0.0,
                fused=False if output_attentions else None,
            )
            contexts.append(mixed.transpose(1, 2).flatten(2))
        context = _gather(contexts, hidden, layout)
        if rows is not None:
            context, hidden = (one.flatten(0, -2).index_select(0, rows) for one in (context, hidden))
        summed = hidden + self.dropout(self.output(context))
        return PassOutput(
            hidden=summed if self.pre_norm else self.layer_norm(summed),
            attention=weights if output_attentions else None,
        )

    def _heads(self, rows: Tensor, group: RowGroup) -> Tensor:
        return rows.view(group.rows, group.length, self.num_attention_heads, -1).transpose(1, 2)


def _spread(values: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """Bring [B, T, H] or [S, H] into the rectangles of the layout."""
    if len(layout.groups) == 1 and layout.slots is None:
        return (values,)
    sizes = [group.rows * group.length for group in layout.groups]
    if layout.slots is None:
        return values.split_with_sizes(sizes)
    laid_out = values.new_zeros(sum(sizes), values.shape[-1]).index_copy(0, layout.slots, values)
    return laid_out.split_with_sizes(sizes)


def _gather(rectangles: list[Tensor], hidden: Tensor, layout: Layout) -> Tensor:
    """Bring the rectangles, [rows, length, H] each, back into the shape of `hidden`."""
    if len(rectangles) == 1 and layout.slots is None:
        return rectangles[0].view(hidden.shape)
    tokens = torch.cat([part.flatten(0, 1) for part in rectangles])
    return tokens if layout.slots is None else tokens.index_select(0, layout.slots)
