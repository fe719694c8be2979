from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.batching.packing import packed
from albertine.checkpoints.load import load_encoder
from albertine.checkpoints.writing import save_encoder
from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.discriminator import ReplacedTokenModel, ReplacedTokenOutput, generator_config, uniform_numbers
from albertine.records import Batch, Encoded

SPECIAL = 5
MASK = 4
VOCABULARY = 61


def small(family: str, **overrides: str | int | float | bool) -> EncoderConfig:
    sizes: dict[str, str | int | float | bool] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 36,
        "embedding_size": 36 if family == "bert" else 13,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "intermediate_size": 55,
        "max_position_embeddings": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.2,
    }
    return EncoderConfig.preset(f"{family}-base", **{**sizes, **overrides})


def text(length: int, generator: np.random.Generator) -> Encoded:
    ids = generator.integers(SPECIAL, VOCABULARY, length).astype(np.int32)
    ids[0], ids[-1] = 2, 3
    return Encoded(input_ids=ids, token_type_ids=np.zeros(length, dtype=np.uint8))


def masked(texts: list[Encoded], every: int = 4) -> tuple[Batch, Tensor, Tensor]:
    """Pack the texts and hide every fourth place of each that is no special token."""
    batch = packed(texts)
    assert batch.sequence_starts is not None
    starts = batch.sequence_starts.tolist()
    positions = torch.tensor(
        [place for first, end in itertools.pairwise(starts) for place in range(first + 2, end - 1, every)]
    )
    targets = batch.input_ids[positions]
    hidden = batch.input_ids.index_fill(0, positions, MASK)
    changed = Batch(input_ids=hidden, token_type_ids=batch.token_type_ids, sequence_starts=batch.sequence_starts)
    return changed, positions, targets


def example(seed: int = 3, texts: int = 5) -> tuple[Batch, Tensor, Tensor]:
    generator = np.random.default_rng(seed)
    return masked([text(int(length), generator) for length in generator.integers(4, 23, texts)])


FAMILIES = ("bert", "albert", "albert-chinese", "transformer")


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_generator_is_a_third_as_wide_and_as_deep(family: str) -> None:
    config = EncoderConfig.preset(f"{family}-base")
    chosen = generator_config(config)
    assert (chosen.hidden_size, chosen.num_attention_heads, chosen.intermediate_size) == (256, 4, 1024)
    assert (chosen.num_hidden_layers, chosen.share) == (config.num_hidden_layers, config.share)
    assert chosen.embedding_size == config.embedding_size
    assert not chosen.add_pooler


@pytest.mark.parametrize(("heads", "expected"), [(1, 48), (2, 24), (12, 16)])
def test_a_generator_has_whole_heads_and_at_least_one(heads: int, expected: int) -> None:
    chosen = generator_config(small("albert", hidden_size=48, num_attention_heads=heads))
    assert chosen.hidden_size == expected
    assert chosen.hidden_size // chosen.num_attention_heads == 48 // heads


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="share"):
        generator_config(small("albert"), share=share)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_generator_and_encoder_share_one_table_and_nothing_else(family: str) -> None:
    model = ReplacedTokenModel(small(family))
    own = {parameter.data_ptr() for parameter in model.encoder.parameters()}
    others = {name: parameter.data_ptr() for name, parameter in model.generator.named_parameters()}
    assert [name for name, place in others.items() if place in own] == ["encoder.embeddings.word_embeddings.weight"]
    table = model.encoder.embeddings.word_embeddings.weight
    assert sum(one is table for one in model.parameters()) == 1
    with torch.no_grad():
        table[7] += 1.0
    assert torch.equal(model.generator.encoder.embeddings.word_embeddings.weight[7], table[7])


@pytest.mark.parametrize("family", ["bert", "albert", "transformer"])
def test_labels_say_where_the_discriminator_reads_another_token(family: str) -> None:
    batch, positions, targets = example()
    original = batch.input_ids.index_copy(0, positions, targets)
    out = ReplacedTokenModel(small(family))(batch, positions, targets, seed=5)
    assert torch.equal(out.replaced, out.input_ids != original)
    untouched = torch.ones_like(original, dtype=torch.bool).index_fill(0, positions, False)
    assert torch.equal(out.input_ids[untouched], original[untouched])
    assert out.replaced.any()
    assert out.replaced_logits.shape == original.shape


def test_a_token_that_happens_to_be_the_right_one_counts_as_the_original() -> None:
    batch, positions, targets = example()
    model = ReplacedTokenModel(small("albert"))
    head = model.generator.masked_word_head
    assert head is not None
    with torch.no_grad():
        head.bias.fill_(-1e4)
        head.bias[int(targets[0])] = 1e4
    out = model(batch, positions, targets)
    assert out.input_ids[positions].unique().tolist() == [int(targets[0])]
    assert torch.equal(out.replaced[positions], targets != targets[0])


def test_the_discriminator_teaches_the_generator_nothing_but_the_shared_table() -> None:
    batch, positions, targets = example()
    model = ReplacedTokenModel(small("bert"))
    out = model(batch, positions, targets)
    out.replaced_logits.sum().backward()
    learnt = {name for name, one in model.generator.named_parameters() if one.grad is not None}
    assert learnt == {"encoder.embeddings.word_embeddings.weight"}
    model.zero_grad(set_to_none=True)
    model(batch, positions, targets).masked_words.backward()
    own = {name for name, one in model.named_parameters() if one.grad is not None}
    assert not any(name.startswith(("encoder.attention", "encoder.feed", "head")) for name in own)
    assert "generator.masked_word_head.dense.weight" in own


def drawn(model: ReplacedTokenModel, made: tuple[Batch, Tensor, Tensor], seed: int) -> Tensor:
    out: ReplacedTokenOutput = model(*made, seed=seed)
    return out.input_ids


def test_words_are_drawn_by_the_seed() -> None:
    model, made = ReplacedTokenModel(small("albert")), example()
    assert torch.equal(drawn(model, made, 11), drawn(model, made, 11))
    assert not torch.equal(drawn(model, made, 11), drawn(model, made, 12))
    state = torch.random.get_rng_state()
    drawn(model, made, 11)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_words_of_a_text_do_not_depend_on_the_texts_beside_it() -> None:
    generator = np.random.default_rng(8)
    texts = [text(length, generator) for length in (9, 17, 6, 12)]
    model = ReplacedTokenModel(small("albert"))
    together = drawn(model, masked(texts), 2)
    apart = torch.cat([drawn(model, masked(texts[:1]), 2), drawn(model, masked(texts[1:]), 2)])
    assert torch.equal(together, apart)


def test_random_numbers_are_spread_evenly_and_differ_from_place_to_place() -> None:
    ids = torch.full((6_000,), 9)
    starts = torch.arange(0, 6_001, 30)
    batch = Batch(
        input_ids=ids.index_copy(0, starts[:-1], torch.arange(200)), token_type_ids=ids, sequence_starts=starts
    )
    numbers = uniform_numbers(batch, torch.arange(6_000), seed=2**63 + 5)
    assert len(numbers.unique()) == 6_000
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    counts = torch.histc(numbers.float(), bins=20, min=0.0, max=1.0)
    assert ((counts - 300.0) ** 2 / 300.0).sum() < 43.8  # chi-squared, 19 degrees of freedom, one in a thousand
    within = numbers.view(200, 30)
    assert abs(float(torch.corrcoef(torch.stack([within[:, :-1].flatten(), within[:, 1:].flatten()]))[0, 1])) < 0.05


def test_padded_batches_are_refused() -> None:
    ids = torch.full((2, 5), 7)
    with pytest.raises(ConfigError, match="packed"):
        ReplacedTokenModel(small("albert"))(
            Batch(input_ids=ids, token_type_ids=torch.zeros_like(ids)), torch.tensor([1]), torch.tensor([7])
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [("vocab_size", 60), ("embedding_size", 14), ("tie_word_embeddings", False), ("max_position_embeddings", 31)],
)
def test_a_generator_that_does_not_fit_is_refused(field: str, value: int | bool) -> None:
    with pytest.raises(ConfigError, match="generator"):
        ReplacedTokenModel(small("albert"), small("albert", **{field: value}))


def test_a_pair_head_needs_the_pooler() -> None:
    batch, positions, targets = example()
    assert ReplacedTokenModel(small("albert"), pair=True)(batch, positions, targets).pair_logits.shape == (5, 2)
    assert ReplacedTokenModel(small("albert"))(batch, positions, targets).pair_logits is None
    with pytest.raises(ConfigError, match="pooler"):
        ReplacedTokenModel(small("albert", add_pooler=False), pair=True)


@pytest.mark.parametrize("family", ["bert", "albert"])
def test_the_saved_encoder_is_the_discriminators(family: str, tmp_path: Path) -> None:
    model = ReplacedTokenModel(small(family)).eval()
    save_encoder(model.encoder, None, tmp_path / "saved")
    loaded, _ = load_encoder(tmp_path / "saved")
    assert loaded.config == model.config
    saved, own = loaded.state_dict(), model.encoder.state_dict()
    assert saved.keys() == own.keys()
    assert all(torch.equal(saved[name], own[name]) for name in own)
