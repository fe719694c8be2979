"""The encoder: BERT, ALBERT and the 2017 Transformer are values of its configuration.

B rows, T positions of a padded row, N texts, S tokens of a packed batch, E embedding width, H hidden width.
A pass is one application of a block of weights; with sharing there are more passes than blocks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.models.attention import AttentionBlock, Layout, packed_layout, padded_layout
from albertine.models.config import EncoderConfig
from albertine.models.layers import Embeddings, FeedForwardBlock, initialize
from albertine.models.outputs import EncoderOutput, PassOutput
from albertine.models.pooling import Pooler

__all__ = ["Encoder", "EncoderOutput", "PassOutput"]


class Encoder(nn.Module):
    """A Transformer encoder with random initial weights.

    The public steps are those that `forward` takes, for callers that stop early or look inside:

        layout = encoder.layout(input_ids, attention_mask=mask)
        hidden = encoder.embed(input_ids, layout=layout)
        for index in range(encoder.config.num_passes):
            hidden = encoder.run_pass(index, hidden, layout).hidden
        pooled = encoder.pool(hidden, layout)

    Args:
        config: the columns of values.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.attention_blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.num_attention_blocks))
        self.feed_forward_blocks = nn.ModuleList(
            FeedForwardBlock(config) for _ in range(config.num_feed_forward_blocks)
        )
        self.pooler = Pooler(config) if config.add_pooler else None
        initialize(self, config.initializer_range)

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        sequence_starts: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        depth: int | None = None,
        positions: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> EncoderOutput:
        """Encode a padded or a packed batch.

        Args:
            input_ids: [B, T] padded or [S] packed; None where `inputs_embeds` stands in.
            attention_mask: [B, T], 1 for real tokens; padded input only. None: all are real.
            token_type_ids: as `input_ids`; None: 0 everywhere.
            position_ids: as `input_ids`; None: 0, 1, 2, … within every text.
            sequence_starts: [N+1] first token of every text and the end; makes the input packed.
            inputs_embeds: [B, T, E] or [S, E] in place of the word embeddings.
            depth: run only so many passes of the stack; None runs all.
            positions: [M] int64 tokens, counted over the flattened input (row * T + column padded, the token's index
                packed), at which alone the last states are wanted. `last_hidden_state` is then [M, H], in their order;
                the pooler's output stays. In pretraining, where one token in seven is predicted, the last pass costs
                a third of a whole one.
            output_hidden_states: give the stack's input and the state after every pass.
            output_attentions: give the attention weights of every pass; padded input only.

        Raises:
            ConfigError: arguments that do not fit together, a text too long, an id outside its table.
        """
        layout = self.layout(
            input_ids, inputs_embeds=inputs_embeds, attention_mask=attention_mask, sequence_starts=sequence_starts
        )
        if output_attentions and layout.starts is not None:
            raise ConfigError(
                "attentions are given for padded input only",
                where="output_attentions",
                next_step="Pass [B, T] ids with attention_mask instead of sequence_starts",
            )
        hidden = self.embed(
            input_ids,
            layout=layout,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
        )
        states = [hidden]
        attentions: list[Tensor] = []
        passes = self._passes(depth)
        chosen = None if positions is None else self._chosen(positions, layout)
        early = chosen is not None and not output_hidden_states and not output_attentions
        for index in range(passes):
            rows = chosen if early and index == passes - 1 else None
            done = self.run_pass(index, hidden, layout, output_attentions=output_attentions, rows=rows)
            hidden = done.hidden
            if output_hidden_states:
                states.append(hidden)
            if done.attention is not None:
                attentions.append(done.attention)
        hidden = self.leave(hidden)
        if chosen is None:
            pooled = self.pool(hidden, layout)
        else:
            texts = layout.texts
            hidden = hidden if early else hidden.flatten(0, -2).index_select(0, chosen)
            first, hidden = hidden[:texts], hidden[texts:]
            pooled = None if self.pooler is None else self.pooler(first.unsqueeze(1))
        return EncoderOutput(
            last_hidden_state=hidden,
            pooler_output=pooled,
            hidden_states=tuple(states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )

    def layout(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        sequence_starts: Tensor | None = None,
    ) -> Layout:
        """Say where every text's tokens lie; the arguments are those of `forward`.

        Raises:
            ConfigError: arguments that do not fit together.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ConfigError(
                "give either input_ids or inputs_embeds",
                received="neither" if input_ids is None else "both",
                allowed="one of the two",
            )
        given = input_ids if input_ids is not None else inputs_embeds
        assert given is not None
        shape = given.shape if input_ids is not None else given.shape[:-1]
        expected = 1 if sequence_starts is not None else 2
        if len(shape) != expected or 0 in shape:
            raise ConfigError(
                "the input has the wrong shape" if shape.numel() else "the input holds no tokens",
                where="input_ids" if input_ids is not None else "inputs_embeds",
                received=f"shape {tuple(given.shape)}",
                allowed="[S] with sequence_starts, [B, T] without",
            )
        if sequence_starts is None:
            return padded_layout(shape[0], shape[1], attention_mask, given.device)
        if attention_mask is not None:
            raise ConfigError(
                "packed input takes no attention_mask",
                where="attention_mask",
                next_step="Give either attention_mask (padded) or sequence_starts (packed)",
            )
        return packed_layout(sequence_starts, shape[0], given.device)

    def embed(
        self,
        input_ids: Tensor | None = None,
        *,
        layout: Layout,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Return the stack's input, [B, T, H] or [S, H].

        Raises:
            ConfigError: a text is longer than the positions reach, or an id is outside its table.
        """
        if position_ids is None and layout.longest > self.config.max_position_embeddings:
            raise ConfigError(
                "a text is longer than the model's positions reach",
                where="input_ids",
                received=f"{layout.longest} tokens",
                allowed=f"up to {self.config.max_position_embeddings}",
                next_step="Cut or split the text, for instance with the tokenizer's max_length",
            )
        hidden: Tensor = self.embeddings(
            input_ids,
            position_ids=layout.positions if position_ids is None else position_ids,
            token_type_ids=token_type_ids,
            inputs_embeds=inputs_embeds,
        )
        return hidden

    def run_pass(
        self,
        index: int,
        hidden: Tensor,
        layout: Layout,
        *,
        output_attentions: bool = False,
        rows: Tensor | None = None,
    ) -> PassOutput:
        """Run pass `index` (0 … num_passes-1): one attention block and one feed-forward block.

        Args:
            index: which pass; the configuration says which blocks it runs.
            hidden: [B, T, H] or [S, H].
            layout: of the batch.
            output_attentions: give the attention weights too; padded input only.
            rows: [M] int64 tokens, counted over the flattened input, whose states alone are wanted: [M, H] then.
        """
        blocks = self.config.blocks_of_pass(index)
        attention_block = self.attention_blocks[blocks.attention]
        mixed: PassOutput = attention_block(hidden, layout, output_attentions=output_attentions, rows=rows)
        return PassOutput(hidden=self.feed_forward_blocks[blocks.feed_forward](mixed.hidden), attention=mixed.attention)

    def leave(self, hidden: Tensor) -> Tensor:
        """Return the last states as `forward` hands them on; encoders for inference compute in other types inside."""
        return hidden

    def pool(self, hidden: Tensor, layout: Layout) -> Tensor | None:
        """Return one vector a text, [N, H]; None without a pooler."""
        if self.pooler is None:
            return None
        pooled: Tensor = self.pooler(hidden, layout.starts)
        return pooled

    def _chosen(self, positions: Tensor, layout: Layout) -> Tensor:
        """Return every text's first token, for the pooler, and the positions behind them."""
        if layout.starts is not None:
            first = layout.starts[:-1]
        else:
            first = torch.arange(layout.texts, device=positions.device) * layout.longest
        return torch.cat([first, positions])

    def _passes(self, depth: int | None) -> int:
        if depth is None:
            return self.config.num_passes
        if not 1 <= depth <= self.config.num_passes:
            raise ConfigError("no such depth", where="depth", received=depth, allowed=f"1 … {self.config.num_passes}")
        return depth
