"""A small language that can be learnt, a corpus of it, an encoder for it, and runs that are short."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import albertine as al
from albertine.batching.corpus.choices import CorpusChoices
from albertine.batching.step_plan import Phase
from albertine.data.cleaning import CleaningChoices
from albertine.models.heads import PretrainingModel
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel
from albertine.training.pretraining import speed
from albertine.training.pretraining.run import PretrainingOutcome

# A document keeps to one topic. In a sentence the noun decides the verb, the verb decides what stands after it and the
# topic the adverb; the opening words tell where in its document a sentence stands.
TOPICS = {
    "slowly": {"fisher": "mends nets", "sailor": "paints boats", "diver": "gathers shells"},
    "gladly": {"farmer": "ploughs fields", "miller": "grinds wheat", "shepherd": "counts sheep"},
}
OPENINGS = ("early", "soon", "then", "later", "finally", "tonight")


def make_tokenizer(extra: tuple[str, ...] = ()) -> Tokenizer:
    """Make a tokenizer that cuts the verbs into two pieces and keeps every other word whole."""
    words = [word for adverb, nouns in TOPICS.items() for word in (adverb, *nouns)]
    verbs = [verb.split()[0].removesuffix("s") for nouns in TOPICS.values() for verb in nouns.values()]
    objects = [verb.split()[1] for nouns in TOPICS.values() for verb in nouns.values()]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*OPENINGS, "the", *words, *verbs, *objects, *letters, *(f"##{letter}" for letter in letters), ".", ","]
    tokens = list(dict.fromkeys([*SPECIAL_TOKENS, *pieces, *extra]))
    return Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))


def make_texts(count: int, *, sentences: int = 6, seed: int = 3) -> list[str]:
    """Make documents of so many sentences of the language at most."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        adverb = str(draw.choice(list(TOPICS)))
        told = []
        for place in range(int(draw.integers(min(2, sentences), sentences + 1))):
            noun = str(draw.choice(list(TOPICS[adverb])))
            told.append(f"{OPENINGS[place].capitalize()} the {noun} {TOPICS[adverb][noun]} {adverb}.")
        texts.append(" ".join(told))
    return texts


@pytest.fixture(scope="session")
def make_corpus(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a corpus folder of texts; by default of documents of the language, a tenth of them held out."""

    def make(texts: list[str], tokenizer: Tokenizer | None = None, **choices: object) -> Path:
        folder = tmp_path_factory.mktemp("corpus")
        (folder / "texts.txt").write_text("\n\n".join(texts), encoding="utf-8")
        options = {"segmenter": "characters", "duplicates": "keep", "held_out": 0.1, **choices}
        options["cleaning"] = CleaningChoices(mojibake=False, minimum=10)
        al.build_corpus(
            folder / "texts.txt",
            tokenizer=tokenizer or make_tokenizer(),
            out=folder / "shards",
            choices=CorpusChoices(**options),
            workers=1,
            progress=lambda progress: None,
        )
        return folder / "shards"

    return make


@pytest.fixture(scope="session")
def corpus(make_corpus: Callable[..., Path]) -> Path:
    """300 documents of two to six sentences."""
    return make_corpus(make_texts(300))


@pytest.fixture(scope="session")
def texts() -> Callable[..., list[str]]:
    """Documents of the language: how many, and of how many `sentences` at most."""
    return make_texts


@pytest.fixture(scope="session")
def tokenizer() -> Callable[..., Tokenizer]:
    """The tokenizer of the corpus, with more tokens where they are given."""
    return make_tokenizer


@pytest.fixture(scope="session")
def sentences() -> list[tuple[str, str]]:
    """A sentence about every person, and the word in it that follows from the person."""
    return [
        (f"Soon the {noun} {what} {adverb}.", what.split()[1])
        for adverb, nouns in TOPICS.items()
        for noun, what in nouns.items()
    ]


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write an encoder of 36 numbers a token with random weights, the shape of a family, other fields on request."""

    def make(
        preset: str = "bert-tiny", *, pair: bool = True, tokenizer: Tokenizer | None = None, **fields: object
    ) -> Path:
        cutter = tokenizer or make_tokenizer()
        shape: dict[str, object] = {
            "hidden_size": 36,
            "embedding_size": 24 if preset.startswith("albert") else 36,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 50,
            "max_position_embeddings": 48,
            "vocab_size": cutter.vocab_size,
            "initializer_range": 0.15,
        }
        torch.manual_seed(11)
        model = PretrainingModel(al.EncoderConfig.preset(preset, **{**shape, **fields}), pair=pair)
        folder = tmp_path_factory.mktemp(preset) / "start"
        al.save_encoder(model, cutter, folder, "albertine")
        return folder

    return make


@pytest.fixture(scope="session")
def encoder(make_encoder: Callable[..., Path]) -> Path:
    """A BERT with both heads and no dropout."""
    return make_encoder(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


@pytest.fixture(scope="session")
def pretrain(corpus: Path, encoder: Path) -> Callable[..., PretrainingOutcome]:
    """Pretrain for some steps of 512 tokens in rows of 32, in fp32; keywords are fields of `PretrainingConfig`."""

    def run(out: Path, *, training: Mapping[str, object] | None = None, **given: object) -> PretrainingOutcome:
        passed = {name: given.pop(name) for name in ("resume", "lang", "progress") if name in given}
        source, start = given.pop("corpus", corpus), given.pop("encoder", encoder)
        config = {"phases": (Phase(length=32),), "tokens_per_step": 512, **given}
        moves = {"precision": "fp32", "learning_rate": 0.01, "evaluations": 3, **(training or {"max_steps": 3})}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(speed, "_SECONDS_EACH", 0.0)  # two steps tell enough of the speed
            return al.pretrain(
                source,
                encoder=start,
                out=out,
                config=al.PretrainingConfig(**config),
                training=al.pretraining_defaults(**moves),
                **{"progress": lambda progress: None, **passed},
            )

    return run


@pytest.fixture(scope="session")
def trained(
    pretrain: Callable[..., PretrainingOutcome], tmp_path_factory: pytest.TempPathFactory
) -> PretrainingOutcome:
    """A run of 200 steps."""
    return pretrain(tmp_path_factory.mktemp("trained") / "encoder", training={"max_steps": 200})
