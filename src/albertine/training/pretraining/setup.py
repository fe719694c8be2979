"""Everything a run is made of, opened and built: corpus, vocabulary, module, examples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from albertine.batching.masking import MaskingUnit, TokenFacts
from albertine.batching.pretraining_batch import PretrainingBatch, micro_batches
from albertine.batching.pretraining_examples import ExampleChoices, PretrainingBatches
from albertine.batching.sentence_pairs import PairChoice, choose_pair
from albertine.batching.shard_format import INDEX_FILE
from albertine.batching.shards import Shards, read_index
from albertine.batching.step_plan import Phase
from albertine.errors import ConfigError, DataError
from albertine.files import sha256
from albertine.inference.precision import Precision
from albertine.records import IntArray
from albertine.tokenization.tokenizer import Tokenizer
from albertine.training.candidates import Candidate
from albertine.training.config import TrainingConfig
from albertine.training.defaults import chosen_pretraining_rate
from albertine.training.pretraining.choices import PretrainingConfig
from albertine.training.pretraining.initial_words import begin_with_neighbours
from albertine.training.pretraining.plan import PretrainingPlan, RunSize, check_budget, check_disk, run_size
from albertine.training.pretraining.preparing import Start, build_module, family_choices, open_start
from albertine.training.pretraining.speed import measure_cost
from albertine.training.processes import Processes

__all__ = ["Setup", "make_plan", "open_setup", "run_inputs"]

_TRIAL_BATCHES = 32
"""Of every phase; batches that came before run faster, as their products are compiled already."""
_COUNTED_TOKENS = 20_000_000
_COUNTED_AT_ONCE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup:
    """A run before its size is settled."""

    candidate: Candidate
    config: PretrainingConfig
    training: TrainingConfig
    train: Shards
    held_out: Shards
    tokenizer: Tokenizer
    facts: TokenFacts
    start: Start
    pair: PairChoice
    masking: MaskingUnit
    token_counts: IntArray
    """[V] how often every token stands in the corpus, special ones never; of a sample where it is large."""
    module: nn.Module
    """What is trained, on the host."""

    def examples(self, size: RunSize) -> PretrainingBatches:
        """Return the examples of the run."""
        return PretrainingBatches(self.train, self.facts, self._choices(size), total_steps=size.total_steps)

    def held_out_batches(self, size: RunSize) -> list[PretrainingBatch]:
        """Return what evaluations read: always the same, of the first phase's length."""
        made = PretrainingBatches(self.held_out, self.facts, self._choices(size), total_steps=size.total_steps)
        tokens = min(self.config.tokens_per_micro_batch, size.held_out_tokens)
        return made.held_out(-(-size.held_out_tokens // tokens), tokens=tokens)

    def steps(self, made: PretrainingBatches, processes: Processes) -> Callable[[int], Sequence[PretrainingBatch]]:
        """Return the micro-batches of a step.

        Their number goes by what the plan says of the step, so that it is the same in every process and every part of a
        run; several processes raise it to a multiple of theirs.
        """

        def of_step(step: int) -> Sequence[PretrainingBatch]:
            slots = made.plan.at(step)
            parts = -(-slots.count * slots.length // self.config.tokens_per_micro_batch)
            return micro_batches(made.batch(step), -(-parts // processes.world) * processes.world)

        return of_step

    def trial(self) -> tuple[list[list[PretrainingBatch]], tuple[float, ...]]:
        """Return for every phase some micro-batches, and the real tokens of a step as a share of those in full rows."""
        batches, fills = [], []
        tokens = min(self.config.tokens_per_micro_batch, self.config.tokens_per_step or math.inf)
        for phase in self.config.phases:
            alone = dataclasses.replace(
                self._choices(None),
                phases=(Phase(length=phase.length),),
                tokens_per_step=max(int(tokens), phase.length),
                first_tokens_per_step=None,
                ramp=0.0,
            )
            made = PretrainingBatches(self.train, self.facts, alone, total_steps=_TRIAL_BATCHES)
            batches.append([made.batch(step) for step in range(_TRIAL_BATCHES)])
            rows = sum(one.counts.slots for one in batches[-1]) * phase.length
            fills.append(sum(one.token_count for one in batches[-1]) / rows)
        return batches, tuple(fills)

    def _choices(self, size: RunSize | None) -> ExampleChoices:
        longest = max(phase.length for phase in self.config.phases)
        tokens = max(self.config.tokens_per_micro_batch, longest) if size is None else size.tokens_per_step
        config = self.config
        if size is None:
            config = dataclasses.replace(config, first_tokens_per_step=None, ramp=0.0)
        return config.examples(
            pair=self.pair.objective, masking=self.masking, tokens_per_step=tokens, seed=self.training.seed
        )


def open_setup(corpus: Path, candidate: Candidate, config: PretrainingConfig, training: TrainingConfig) -> Setup:
    """Open the corpus and the encoder, settle what was left open, and build the module.

    Args:
        corpus: the folder of `corpus build`.
        candidate: what to pretrain.
        config: what is learnt.
        training: how weights move.

    Raises:
        DataError: the corpus cannot be used, or too little of it is held out.
        ConfigError: no budget, rows longer than the encoder's positions reach, or choices that do not fit together.
        TokenizerError: the corpus has another vocabulary than the encoder.
        CheckpointError: the encoder cannot be read.
    """
    check_budget(training)
    train, held_out = Shards(corpus, "train"), Shards(corpus, "held-out")
    if not held_out.num_tokens:
        raise DataError(
            "nothing of this corpus is held out, so that the run could not be measured",
            where=str(corpus),
            next_step="Build it again with --held-out 0.01, or from more documents",
        )
    tokenizer = train.tokenizer()
    start = open_start(candidate, tokenizer, new_vocabulary=config.new_vocabulary, seed=training.seed)
    longest, reach = max(phase.length for phase in config.phases), start.config.max_position_embeddings
    if longest > reach:
        raise ConfigError(
            "rows are longer than the encoder's positions reach",
            where="--lengths",
            received=longest,
            allowed=f"up to {reach}",
            next_step=f"Give --lengths {min(128, reach)}",
        )
    family = family_choices(candidate, start.config, tokenizer)
    pair = choose_pair(train, config.pair, preferred=family.pair)
    try:
        choose_pair(held_out, pair.objective)
    except DataError as error:
        raise DataError(
            f"too little is held out to judge {pair.objective} by",
            where=str(corpus),
            received=str(error.received),
            allowed=error.allowed,
            next_step="Build the corpus again with a larger --held-out, or give --pair none",
        ) from error
    facts = TokenFacts.of(tokenizer)
    counts = _token_counts(train, facts)
    module = build_module(start, config, training, pair=pair.objective, token_counts=counts)
    if start.model is None and config.initial_words == "co-occurrence":
        begin_with_neighbours(
            module.encoder.embeddings.word_embeddings.weight,
            train,
            counts,
            deviation=start.config.initializer_range,
            seed=training.seed,
        )
    return Setup(
        candidate=candidate,
        config=config,
        training=training,
        train=train,
        held_out=held_out,
        tokenizer=tokenizer,
        facts=facts,
        token_counts=counts,
        start=start,
        pair=pair,
        masking=config.masking or family.masking,
        module=module,
    )


def _token_counts(shards: Shards, facts: TokenFacts) -> IntArray:
    """Count tokens, in pieces from all over the corpus where it is large."""
    counts = np.zeros(shards.vocab_size, dtype=np.int64)
    total = shards.num_tokens
    pieces = max(1, min(_COUNTED_TOKENS, total) // _COUNTED_AT_ONCE)
    for piece in range(pieces):
        begin = piece * total // pieces
        ids = shards.tokens(begin, min(total, begin + _COUNTED_AT_ONCE))
        counts += np.bincount(ids, minlength=len(counts))
    counts[facts.special] = 0
    return counts


def run_inputs(
    corpus: Path, candidate: Candidate, config: PretrainingConfig, training: TrainingConfig
) -> dict[str, object]:
    """Return everything that decides a run, by value or by hash.

    Raises:
        DataError: there is no corpus.
    """
    read_index(corpus)
    return {
        "task": "pretraining",
        "encoder": candidate.fingerprint(),
        "corpus": sha256(corpus / INDEX_FILE),
        "pretraining": config.to_dict(),
        "training": training.identity(),
    }


def make_plan(
    setup: Setup, folder: Path, *, device: torch.device, precision: Precision, processes: Processes
) -> PretrainingPlan:
    """Measure what a step costs and settle how large the run is; every process comes to the same plan.

    Args:
        setup: of the run, its module on its device.
        folder: of the run.
        device: where it computes.
        precision: of the matrix products.
        processes: those of the run.

    Raises:
        ConfigError: a first step larger than the others.
        FailureError: memory ran out, or the disk has too little room.
    """
    batches, fills = setup.trial()
    cost = measure_cost(setup.module, batches, setup.training, precision, processes)
    size = run_size(
        setup.config,
        setup.training,
        cost=cost,
        fills=fills,
        corpus_tokens=setup.train.num_tokens,
        processes=processes.world,
    )
    setup.examples(size)  # refuses what cannot be made, before anything is written
    parameters = sum(one.numel() for one in setup.module.parameters())
    rate = chosen_pretraining_rate(
        setup.training,
        setup.start.config.hidden_size,
        pretrained=setup.start.model is not None,
        tokens_per_step=size.tokens_per_step,
    )
    held_out = min(size.held_out_tokens, setup.held_out.num_tokens)
    return PretrainingPlan(
        size=size,
        pair=setup.pair.objective,
        pair_reason=setup.pair.reason,
        masking=setup.masking,
        learning_rate=rate,
        epochs=size.tokens / setup.train.num_tokens,
        tokens_per_second=size.tokens / size.seconds,
        # without a backward pass, which takes two thirds of a step
        evaluation_seconds=setup.training.evaluations * held_out * cost.seconds_per_token[0] / 3,
        memory_bytes=cost.memory_bytes,
        disk_bytes=processes.on_first(lambda: check_disk(folder, parameters)),
        parameters=parameters,
        precision=precision,
        device=device.type,
        processes=processes.world,
        phases=setup.config.phases,
    )
