"""Replaced-token detection (ELECTRA): a small generator puts words in, the encoder says which ones are not the text's.

N texts, S packed tokens, M masked places, H hidden width, E embedding width.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.encoder import Encoder
from albertine.models.heads import PretrainingModel
from albertine.models.layers import activate, initialize
from albertine.models.word_prediction import predict_words
from albertine.records import Batch

__all__ = ["GENERATOR_SHARE", "ReplacedTokenModel", "ReplacedTokenOutput", "TokenHead", "generator_config"]

GENERATOR_SHARE = 1 / 3
"""The generator's width as a share of the discriminator's. ELECTRA (arXiv:2003.10555, section 3.2) found a quarter to
a half best and published a quarter (small, large) and a third (base). A third costs a ninth of the encoder's products,
divides the usual 12 heads, and is still wide enough to predict anything at the widths of small encoders."""


def generator_config(config: EncoderConfig, *, share: float = GENERATOR_SHARE) -> EncoderConfig:
    """Return the configuration of a generator for a discriminator: the same family and depth, narrower.

    Its heads keep their width and become fewer; its word embeddings keep theirs, since the two share them. Depth and
    sharing are the discriminator's: of the published ways, narrower at equal depth is the one that was tried with
    shared layers too (ALECTRA), where running the generator through the discriminator's own blocks did harm.

    Args:
        config: of the discriminator.
        share: of its width.

    Raises:
        ConfigError: the share is not above 0 and at most 1.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(
            "not a share of the width", where="generator share", received=share, allowed="above 0, up to 1"
        )
    heads = max(1, round(config.num_attention_heads * share))
    hidden = heads * (config.hidden_size // config.num_attention_heads)
    return dataclasses.replace(
        config,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=max(1, round(config.intermediate_size * hidden / config.hidden_size)),
        projection="auto" if config.projection == "never" else config.projection,
        tie_word_embeddings=True,
        add_pooler=False,
    )


class TokenHead(nn.Module):
    """One number a token: a dense layer, an activation, a linear layer."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.hidden_act = config.hidden_act
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.output = nn.Linear(config.hidden_size, 1)
        initialize(self, config.initializer_range)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [...] from [..., H]."""
        scores: Tensor = self.output(activate(self.dense(hidden), self.hidden_act))
        return scores.squeeze(-1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedTokenOutput:
    """What generator and discriminator make of a batch."""

    masked_words: Tensor
    """Scalar fp32, the sum of the generator's cross entropies over the M places."""
    best_words: Tensor | None
    """[M] int64, the generator's most probable words, where they were asked for."""
    input_ids: Tensor
    """[S] int64, what the discriminator read."""
    replaced: Tensor
    """[S] bool, True where that is another token than the text's own; a place at which the generator happened to put
    the text's own token is False, as is every place that was not masked."""
    replaced_logits: Tensor
    """[S] the discriminator's scores for "replaced"."""
    pair_logits: Tensor | None
    """[N, 2] of the discriminator's pooler; None without the pair head."""


class ReplacedTokenModel(nn.Module):
    """A discriminator, which is the encoder that stays, and the generator it is trained against.

    They share the table of word embeddings and nothing else: sharing the positions, the projection or the blocks as
    well was worse where the blocks are shared over depth (ALECTRA), and the generator's own copies are small. What is
    saved after training is `encoder`; the generator is thrown away.

    Args:
        config: of the encoder.
        generator: of the generator; None for `generator_config(config)`.
        pair: build the sentence-pair head on the encoder's pooler. Without it the pooler is not trained.

    Raises:
        ConfigError: a generator that cannot share the table, or a pair head without a pooler.
    """

    def __init__(self, config: EncoderConfig, generator: EncoderConfig | None = None, *, pair: bool = False) -> None:
        super().__init__()
        if pair and not config.add_pooler:
            raise ConfigError("the pair head needs the pooler", where="add_pooler", received=False, allowed="True")
        chosen = generator_config(config) if generator is None else generator
        _check(chosen, config)
        self.config = config
        self.encoder = Encoder(config)
        self.head = TokenHead(config)
        self.pair_head = nn.Linear(config.hidden_size, 2) if pair else None
        if self.pair_head is not None:
            initialize(self.pair_head, config.initializer_range)
        self.generator = PretrainingModel(chosen, pair=False)
        self.generator.encoder.embeddings.word_embeddings.weight = self.encoder.embeddings.word_embeddings.weight

    def forward(
        self, batch: Batch, positions: Tensor, targets: Tensor, *, seed: int = 0, best: bool = False
    ) -> ReplacedTokenOutput:
        """Let the generator fill the masked places, and the discriminator judge every token.

        Which words are drawn is a function of the weights, the masked text, the place and the seed alone. As masks
        follow from the run's seed and the step, so do the words, and cutting a step into other micro-batches, or over
        other processes, draws the same ones: no state of a random number generator is read.

        Args:
            batch: packed, masked.
            positions: [M] int64 masked places, counted over the packed tokens.
            targets: [M] int64 the tokens that stood there.
            seed: to draw others from the same masked text.
            best: also give the generator's most probable words.

        Raises:
            ConfigError: the batch is not packed.
        """
        if batch.sequence_starts is None:
            raise ConfigError(
                "replaced-token detection reads packed batches",
                where="batch",
                received="a padded one",
                allowed="input_ids of [S] with sequence_starts",
            )
        generated = self.generator.encoder(
            batch.input_ids,
            token_type_ids=batch.token_type_ids,
            position_ids=batch.position_ids,
            sequence_starts=batch.sequence_starts,
            positions=positions,
        )
        head = self.generator.masked_word_head
        assert head is not None, "every generator has one"
        table = self.generator.encoder.embeddings
        prediction = predict_words(
            head.words(generated.last_hidden_state, table),
            head.table(table),
            head.bias,
            targets,
            best=best,
            uniform=uniform_numbers(batch, positions, seed),
        )
        assert prediction.drawn is not None, "random numbers were given"
        input_ids = batch.input_ids.index_copy(0, positions, prediction.drawn)
        replaced = torch.zeros_like(input_ids, dtype=torch.bool)
        replaced = replaced.index_copy(0, positions, prediction.drawn != targets)
        judged = self.encoder(
            input_ids,
            token_type_ids=batch.token_type_ids,
            position_ids=batch.position_ids,
            sequence_starts=batch.sequence_starts,
        )
        return ReplacedTokenOutput(
            masked_words=prediction.total,
            best_words=prediction.best,
            input_ids=input_ids,
            replaced=replaced,
            replaced_logits=self.head(judged.last_hidden_state),
            pair_logits=None if self.pair_head is None else self.pair_head(judged.pooler_output),
        )


def uniform_numbers(batch: Batch, positions: Tensor, seed: int) -> Tensor:
    """Return a number in [0, 1) for every position, a function of the seed, its text's tokens and its place in it.

    The numbers are a hash, not a stream, so that they do not depend on what else is in the batch.

    Args:
        batch: packed.
        positions: [M] places counted over the packed tokens.
        seed: any integer.

    Returns:
        [M] float64.
    """
    ids, starts = batch.input_ids, batch.sequence_starts
    assert starts is not None, "packed"
    starts = starts.to(ids.device)
    places = torch.arange(ids.shape[0], device=ids.device)
    text = torch.searchsorted(starts, places, right=True) - 1
    within = places - starts[text]
    tokens = _mixed(ids * _STEP + within)
    texts = torch.zeros(len(batch), dtype=torch.int64, device=ids.device).index_add(0, text, tokens)
    # wrapped into 64 bits with a sign, as tensors hold them
    begin = (seed * _STEP + 2**63) % 2**64 - 2**63
    bits = _mixed(_mixed(texts[text[positions]] + begin) + within[positions] * _STEP)
    return ((bits >> 11) & (2**53 - 1)).double() / 2**53


_STEP = -7046029254386353131  # the golden ratio in 64 bits, odd: multiples of it spread evenly
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685


def _mixed(values: Tensor) -> Tensor:
    """Spread every bit over all 64, by the constants of splitmix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ ((values >> 30) & (2**34 - 1))) * _FIRST
    values = (values ^ ((values >> 27) & (2**37 - 1))) * _SECOND
    return values ^ ((values >> 31) & (2**33 - 1))


def _check(generator: EncoderConfig, config: EncoderConfig) -> None:
    """Raise ConfigError unless the generator can share the table and read the same batches."""
    for name in ("vocab_size", "embedding_size", "pad_token_id"):
        if getattr(generator, name) != getattr(config, name):
            raise ConfigError(
                "generator and encoder share their word embeddings",
                where=f"generator.{name}",
                received=getattr(generator, name),
                allowed=f"the encoder's, {getattr(config, name)}",
            )
    if not generator.tie_word_embeddings:
        raise ConfigError(
            "the generator predicts words with the shared embeddings",
            where="generator.tie_word_embeddings",
            received=False,
            allowed="True",
        )
    if generator.max_position_embeddings < config.max_position_embeddings or (
        generator.type_vocab_size not in (0, config.type_vocab_size)
    ):
        raise ConfigError(
            "the generator must read every batch that the encoder reads",
            where="generator",
            received=f"{generator.max_position_embeddings} positions, {generator.type_vocab_size} segments",
            allowed=f"{config.max_position_embeddings} positions, {config.type_vocab_size} segments",
        )
