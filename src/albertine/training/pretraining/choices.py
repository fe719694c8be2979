"""What a pretraining run learns from its corpus, as one checked record, and what is taken where nothing is said."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, get_args

from albertine.batching.masking import MaskingChoices, MaskingSchedule, MaskingUnit
from albertine.batching.pretraining_examples import ExampleChoices
from albertine.batching.sentence_pairs import PairObjective
from albertine.batching.step_plan import Phase, StepPlan
from albertine.errors import ConfigError, unknown_name
from albertine.training.config import TrainingConfig

__all__ = [
    "InitialWords",
    "Objective",
    "PairAsked",
    "PretrainingConfig",
    "default_tokens_per_step",
    "pretraining_defaults",
]

Objective = Literal["masked-words", "replaced-tokens"]
"""masked-words: predict what stands behind the masks; replaced-tokens: tell which words a small generator put in their
place, a loss on every token (ELECTRA)."""
PairAsked = Literal["auto", "nsp", "sop", "none"]
InitialWords = Literal["co-occurrence", "random"]

_STEPS_WANTED = 5_000
_FEWEST_TOKENS, _MOST_TOKENS = 4_096, 131_072
_PHASES = (Phase(length=128, share=0.9), Phase(length=512, share=0.1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingConfig:
    """What the examples of a run are and what is asked of them; how weights move is `TrainingConfig`'s.

    Raises:
        ConfigError: a field is out of its range.
    """

    objective: Objective = "masked-words"
    """What is learnt of single words."""
    pair: PairAsked = "auto"
    """What is learnt of pairs; auto takes the family's own (BERT next sentence, ALBERT sentence order) where most of
    the corpus stands in documents of several sentences, and says what it took."""
    masking: MaskingUnit | None = None
    """What is hidden at a time; None takes the family's own."""
    mask_share: MaskingSchedule = field(default_factory=MaskingSchedule)
    """Share of the tokens that is hidden, from the first step to the last."""
    phases: tuple[Phase, ...] = _PHASES
    """Lengths of rows in their order; none may be longer than the encoder's positions reach."""
    tokens_per_step: int | None = None
    """Tokens of an optimizer step; None chooses so that the run has some thousand steps, and says it."""
    first_tokens_per_step: int | None = None
    """Tokens of the first step where the batch grows."""
    ramp: float = 0.0
    """Share of the steps in which it grows."""
    tokens_per_micro_batch: int = 4_096
    """A step is computed in parts of about so many tokens: less memory, the same result."""
    short_share: float = 0.1
    """Share of the rows that are cut into shorter texts."""
    held_out_tokens: int | None = None
    """Held-out tokens that an evaluation reads; None chooses by the budget."""
    initial_words: InitialWords = "co-occurrence"
    """What the word embeddings of a new encoder begin with: how tokens stand near each other in the corpus, or random
    numbers. A checkpoint's stay."""
    new_vocabulary: bool = False
    """Allow the corpus to have another vocabulary than the encoder: rows of its word table are made anew."""

    def __post_init__(self) -> None:
        """Check every field, and that they fit together."""
        for name, kind in (("objective", Objective), ("pair", PairAsked), ("initial_words", InitialWords)):
            if getattr(self, name) not in get_args(kind):
                raise unknown_name("value", str(getattr(self, name)), get_args(kind), where=f"pretraining.{name}")
        for name in ("tokens_per_step", "first_tokens_per_step", "tokens_per_micro_batch", "held_out_tokens"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(
                    "out of range", where=f"pretraining.{name}", received=repr(value), allowed="a whole number from 1"
                )
        # what makes the examples checks its own; better now than after the measuring
        self.examples(pair="none", masking="pieces", tokens_per_step=self.tokens_per_step or 1, seed=0)
        fewest = max(phase.length for phase in self.phases)
        StepPlan(
            self.phases,
            tokens_per_step=self.tokens_per_step or max(fewest, self.first_tokens_per_step or 0),
            first_tokens_per_step=self.first_tokens_per_step,
            ramp=self.ramp,
            total_steps=1,
        )

    def to_dict(self) -> dict[str, object]:
        """Return every field under its name, ready for JSON."""
        return dataclasses.asdict(self)

    def examples(self, *, pair: PairObjective, masking: MaskingUnit, tokens_per_step: int, seed: int) -> ExampleChoices:
        """Return what decides the examples, with everything that was left open settled.

        Args:
            pair: the objective that was settled on.
            masking: the unit, likewise.
            tokens_per_step: likewise.
            seed: of the run.
        """
        return ExampleChoices(
            pair=pair,
            masking=MaskingChoices(unit=masking, share=self.mask_share),
            phases=self.phases,
            tokens_per_step=tokens_per_step,
            first_tokens_per_step=self.first_tokens_per_step,
            ramp=self.ramp,
            short_share=self.short_share,
            seed=seed,
        )


def default_tokens_per_step(budget_tokens: float, *, longest: int) -> int:
    """Return the power of two that gives a run about five thousand steps, between 4,096 and 131,072.

    Small budgets need small steps, or they end before anything is learnt; steps beyond BERT's 131,072 tokens want LAMB.

    Args:
        budget_tokens: of the whole run.
        longest: tokens of the longest row, of which a step has eight at least.
    """
    wanted = max(_FEWEST_TOKENS, 8 * longest)
    while 2 * wanted * _STEPS_WANTED <= 1.5 * budget_tokens and wanted < _MOST_TOKENS:
        wanted *= 2
    return wanted


def pretraining_defaults(**given: object) -> TrainingConfig:
    """Return how weights move in pretraining, where nothing else is said.

    Against fine-tuning: beta2 0.98 and an epsilon of 1e-6, as runs with a small budget and high rates use (Izsak et al.
    2021, arXiv:2104.07705, section 3), a shorter warm-up, and more evaluations, which cost little here.

    Args:
        given: fields of `TrainingConfig` that are said otherwise.

    Raises:
        ConfigError: a field that does not exist or is out of range.
    """
    chosen = {"beta2": 0.98, "epsilon": 1e-6, "warmup": 0.06, "evaluations": 20, **given}
    return TrainingConfig.from_dict(chosen)
