"""The loss of question answering, held against a plain cross-entropy."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from albertine.batching.packing import packed, padded
from albertine.models.body import BodyConfig
from albertine.models.config import EncoderConfig
from albertine.models.recurrent import RecurrentConfig
from albertine.models.word_vectors import WordVectorsConfig
from albertine.records import Batch, Encoded, Example, Span
from albertine.tasks.config import TaskConfig
from albertine.tasks.question_answering import TASK
from albertine.tasks.question_options import QuestionAnsweringOptions
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

FILLERS = [f"w{number}" for number in range(30)]
COLOURS = ["red", "green", "blue", "pink"]
ANIMALS = ["cat", "dog", "cow", "owl"]
WORDS = [*FILLERS, *COLOURS, *ANIMALS, "dark", "which", "colour", "animal", "?", ".", ",", "é", "光", "荣", "人", "##s"]
TOKENIZER = Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *WORDS], rules=Rules(lowercase=True, strip_accents=True)))
OPTIONS = QuestionAnsweringOptions()


def config(max_length: int | None = 24, overlap: int = 8, **options: object) -> TaskConfig:
    own = dataclasses.replace(OPTIONS, **options)  # type: ignore[arg-type]
    return TaskConfig(task=TASK.name, max_length=max_length, overlap=overlap, pairs=True, options=own)


def encoder(**sizes: int) -> EncoderConfig:
    given: dict[str, float] = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 24,
        "embedding_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.15,
        **sizes,
    }
    return EncoderConfig.preset("bert-base", **given)


def fillers(count: int, seed: int = 0) -> list[str]:
    return [str(word) for word in np.random.default_rng([seed, count]).choice(FILLERS, size=count)]


def spans(context: str, *answers: str) -> tuple[Span, ...]:
    return tuple(
        Span(start=context.index(one), end=context.index(one) + len(one), label="answer", text=one) for one in answers
    )


def example(context: str, *answers: str, question: str = "which colour ?") -> Example:
    return Example(text=question, text_pair=context, spans=spans(context, *answers), file="qa.json", line=3)


def targets(items: Sequence[Encoded]) -> list[list[list[int]]]:
    assert all(one.target is not None for one in items)
    return [[] if one.target is None else one.target.tolist() for one in items]


class Fixed(nn.Module):
    """Gives logits that stand in a table by token id, whatever the rest of the text."""

    def __init__(self, seed: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(3 * torch.randn(TOKENIZER.vocab_size, 2, generator=generator))

    def forward(self, batch: Batch) -> Tensor:
        return self.table[batch.input_ids]


def rows_to_learn() -> list[Example]:
    return [
        example("w1 dark red .", "dark red"),
        example("w2 w3"),
        example(" ".join([*fillers(30), "pink", *fillers(9)]), "pink"),
        example("dark blue , blue , w4", "dark blue", "blue , w4", "blue"),
    ]


def loss_of(module: nn.Module, batch: Batch) -> float:
    part = TASK.loss(module, batch)["span"]
    assert part.weight.item() == len(batch)
    return float(part.total.detach())


def test_the_loss_is_the_cross_entropy_over_the_context_and_the_first_token() -> None:
    module = Fixed()
    items = TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items
    expected = 0.0
    for one, rows in zip(items, targets(items), strict=True):
        logits = module.table[torch.from_numpy(one.input_ids.astype(np.int64))]
        allowed = [0, *[place for place in range(len(one) - 1) if one.token_type_ids[place]]]
        likelihood = 0.0
        for pair in rows:
            chosen = torch.tensor([allowed.index(pair[0]), allowed.index(pair[1])])
            ends = functional.cross_entropy(logits[allowed].T, chosen, reduction="sum")
            likelihood += float(torch.exp(-ends.detach()))
        expected -= float(np.log(likelihood)) / 2
    assert loss_of(module, packed(items)) == pytest.approx(expected, rel=1e-5)
    assert loss_of(module, padded(items, pad_id=0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "body",
    [
        encoder(),
        RecurrentConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6, hidden_size=5, embedding_dropout_prob=0.0),
        WordVectorsConfig(vocab_size=TOKENIZER.vocab_size, embedding_size=6, bigram_buckets=13),
    ],
    ids=["encoder", "bilstm", "word-vectors"],
)
def test_packed_and_padded_batches_give_one_loss_and_one_gradient(body: BodyConfig) -> None:
    module = TASK.build(body, config())
    items = TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items
    found = []
    for batch in (packed(items), padded(items, pad_id=0)):
        module.zero_grad()
        part = TASK.loss(module, batch)["span"]
        part.total.backward()  # type: ignore[no-untyped-call]
        found.append(
            (part.total.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None})
        )
    (flat, gradients), (square, others) = found
    torch.testing.assert_close(flat, square, rtol=1e-5, atol=1e-5)
    assert {"qa_outputs.weight", "qa_outputs.bias"} <= set(gradients)
    assert all("pooler" in name or "bigrams" in name for name, _ in module.named_parameters() if name not in gradients)
    for name, value in gradients.items():
        torch.testing.assert_close(value, others[name], rtol=1e-4, atol=1e-5)


def test_losses_of_parts_of_a_batch_add_up() -> None:
    module = Fixed()
    items = TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items
    parts = [loss_of(module, packed(items[start : start + 3])) for start in range(0, len(items), 3)]
    assert sum(parts) == pytest.approx(loss_of(module, packed(items)), rel=1e-5)


def test_tokens_of_the_question_have_no_part_in_the_loss() -> None:
    module = Fixed()
    items = TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items
    before = loss_of(module, packed(items))
    with torch.no_grad():
        for word in ("which", "colour", "?", "[SEP]"):
            module.table[TOKENIZER.token_to_id(word)] += 50.0
    assert loss_of(module, packed(items)) == pytest.approx(before, rel=1e-5)


def test_an_untrained_module_is_as_unsure_as_chance() -> None:
    module = TASK.build(encoder(), config())
    nn.init.zeros_(module.get_submodule("qa_outputs").get_parameter("weight"))
    items = TASK.encode(TOKENIZER, [example("w1 dark red .", "red")], config(), labelled=True).items
    assert loss_of(module, packed(items)) == pytest.approx(np.log(5), rel=1e-5)


def test_log_shares_are_distributions_alike_in_both_layouts() -> None:
    module = Fixed()
    items = TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items
    assert TASK.log_shares is not None
    flat, square = (
        TASK.log_shares(module, module(batch), batch).detach() for batch in (packed(items), padded(items, pad_id=0))
    )
    assert flat.shape == (2 * len(items), max(map(len, items)))
    torch.testing.assert_close(flat, square)
    torch.testing.assert_close(flat.exp().sum(dim=1), torch.ones(len(flat)))
    question = [0, 1, 2, 3]
    assert (flat.exp()[:, question[1:]] == 0).all()
    assert (flat.exp()[:, 0] > 0).all()


def test_two_passes_with_different_dropout_can_be_compared() -> None:
    drops = dataclasses.replace(encoder(), hidden_dropout_prob=0.2)
    module = TASK.build(drops, config()).train()
    assert TASK.log_shares is not None
    batch = packed(TASK.encode(TOKENIZER, rows_to_learn(), config(), labelled=True).items)
    one, other = (TASK.log_shares(module, module(batch), batch) for _ in range(2))
    apart = functional.kl_div(one, other, log_target=True, reduction="sum")
    assert 0 < apart.item() < 100
    apart.backward()  # type: ignore[no-untyped-call]
    gradients = [value.grad for value in module.parameters() if value.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
