"""The pretraining heads: words behind masks, and how two texts belong together.

B rows, T positions, N texts, S packed tokens, M chosen positions, E embedding width, H hidden width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.layers import Embeddings, activate, initialize
from albertine.models.outputs import PretrainingOutput

__all__ = ["MaskedWordHead", "PretrainingModel", "PretrainingOutput"]


class MaskedWordHead(nn.Module):
    """Scores every word of the vocabulary, as a rule with the word embeddings themselves.

    A dense layer brings the state to the width at which the embedding norm lives, an activation and a LayerNorm follow,
    then the way back into the table: its transpose, behind the transposed projection where the norm lives at H and the
    table is narrower (brightmart's Chinese ALBERT). Only the dense layer, the norm and the bias are the head's own,
    unless `EncoderConfig.tie_word_embeddings` is off: then `decoder` stands in the table's place.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.embedding_norm_size
        self.hidden_act = config.hidden_act
        self.through_projection = config.embedding_norm_width == "hidden"
        self.dense = nn.Linear(config.hidden_size, width)
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        table = config.embedding_size if self.through_projection else width
        self.decoder = None if config.tie_word_embeddings else nn.Linear(table, config.vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, hidden: Tensor, embeddings: Embeddings) -> Tensor:
        """Return [..., V] logits.

        Args:
            hidden: [..., H].
            embeddings: the encoder's, whose tables are used, not copied.
        """
        return F.linear(self.words(hidden, embeddings), self.table(embeddings), self.bias)

    def words(self, hidden: Tensor, embeddings: Embeddings) -> Tensor:
        """Return what is held against the rows of the table, [..., width of the table].

        Args:
            hidden: [..., H].
            embeddings: the encoder's.
        """
        words: Tensor = self.layer_norm(activate(self.dense(hidden), self.hidden_act))
        if self.through_projection and embeddings.projection is not None:
            words = F.linear(words, embeddings.projection.weight.t())
        return words

    def table(self, embeddings: Embeddings) -> Tensor:
        """Return the table with a row a word, [V, its width]: the encoder's own unless the weights are not tied."""
        return embeddings.word_embeddings.weight if self.decoder is None else self.decoder.weight


class PretrainingModel(nn.Module):
    """An encoder with the heads that pretraining needs.

    Args:
        config: of the encoder.
        masked_word: build the masked-word head.
        pair: build the sentence-pair head (next sentence or sentence order), which stands on the pooler.

    Raises:
        ConfigError: a pair head without a pooler.
    """

    def __init__(self, config: EncoderConfig, *, masked_word: bool = True, pair: bool = True) -> None:
        super().__init__()
        if pair and not config.add_pooler:
            raise ConfigError("the pair head needs the pooler", where="add_pooler", received=False, allowed="True")
        self.config = config
        self.encoder = Encoder(config)
        self.masked_word_head = MaskedWordHead(config) if masked_word else None
        self.pair_head = nn.Linear(config.hidden_size, 2) if pair else None
        for head in (self.masked_word_head, self.pair_head):
            if head is not None:
                initialize(head, config.initializer_range)

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
    ) -> PretrainingOutput:
        """Encode a batch and apply the heads.

        Args:
            input_ids: this and the others are those of `Encoder.forward`.
            attention_mask: see there.
            token_type_ids: see there.
            position_ids: see there.
            sequence_starts: see there.
            inputs_embeds: see there.
            depth: see there.
            positions: [M] int64 places at which words are predicted, counted over the flattened input: row * T + column
                padded, the token's index packed. None predicts everywhere, which costs more than a small encoder does.
            output_hidden_states: see there.
            output_attentions: see there.

        Raises:
            ConfigError: as `Encoder.forward`.
        """
        encoded = self.encoder(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            sequence_starts=sequence_starts,
            inputs_embeds=inputs_embeds,
            depth=depth,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
        )
        prediction_logits = pair_logits = None
        if self.masked_word_head is not None:
            hidden = encoded.last_hidden_state
            if positions is not None:
                hidden = hidden.flatten(0, -2).index_select(0, positions)
            prediction_logits = self.masked_word_head(hidden, self.encoder.embeddings)
        if self.pair_head is not None:
            pair_logits = self.pair_head(encoded.pooler_output)
        return PretrainingOutput(prediction_logits=prediction_logits, pair_logits=pair_logits, encoder=encoded)
