"""What beam search and sampling write, against slow searches that keep nothing."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from albertine.errors import ConfigError
from albertine.models.config import EncoderConfig
from albertine.models.decoder import Decoder, decoder_config
from albertine.models.encoder import Encoder
from albertine.models.generation import GenerationSettings, Hypothesis, Vocabulary, generate, length_penalty

BEGIN, END = 1, 2
SOURCES = [4, 1, 7, 3, 4]


def config(vocabulary: int) -> EncoderConfig:
    return EncoderConfig.from_dict(
        {
            "vocab_size": vocabulary,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 20,
            "embedding_size": 16,
            "max_position_embeddings": 30,
            "initializer_range": 0.5,
        }
    )


def decoder(vocabulary: int, *, seed: int = 3, end: float = 0.0) -> Decoder:
    """Return a decoder with strong opinions; `end` makes it stop sooner."""
    torch.manual_seed(seed)
    model = Decoder(decoder_config(config(vocabulary))).eval()
    with torch.no_grad():
        model.bias.normal_()
        model.bias[END] += end
    return model


def memory_of(lengths: list[int]) -> Tensor:
    return torch.randn(sum(lengths), 16, generator=torch.Generator().manual_seed(5))


def write(
    model: Decoder,
    *,
    limits: list[int] | None = None,
    lengths: list[int] | None = None,
    memory: Tensor | None = None,
    vocabulary: Vocabulary | None = None,
    **settings: int | float | bool,
) -> list[list[Hypothesis]]:
    lengths = lengths or SOURCES
    with torch.no_grad():
        return generate(
            model,
            memory_of(SOURCES) if memory is None else memory,
            lengths,
            limits=limits or [8] * len(lengths),
            vocabulary=vocabulary or Vocabulary(begin=BEGIN, end=END, forbidden=(0,)),
            settings=GenerationSettings(**settings),  # type: ignore[arg-type]  # fields of several types
            keys=[[length, place] for place, length in enumerate(lengths)],
        )


class Slow:
    """The next token's log-probabilities of one source, by the whole decoder, without anything kept."""

    def __init__(self, model: Decoder, text: int, forbidden: tuple[int, ...] = (0, BEGIN)) -> None:
        starts = [0, *itertools.accumulate(SOURCES)]
        self.model, self.forbidden = model, list(forbidden)
        self.memory = memory_of(SOURCES)[starts[text] : starts[text + 1]]
        self.layout = Encoder(config(5)).layout(torch.zeros(1, SOURCES[text], dtype=torch.int64))
        self.known: dict[tuple[int, ...], list[float]] = {}

    def __call__(self, written: tuple[int, ...]) -> list[float]:
        if written not in self.known:
            with torch.no_grad():
                ids = torch.tensor([[BEGIN, *written]])
                scores = self.model.logits(self.model(ids, self.memory[None], memory_layout=self.layout))[0, -1]
                scores[self.forbidden] = -math.inf
                self.known[written] = torch.log_softmax(scores, dim=0).tolist()
        return self.known[written]

    def sum_of(self, tokens: tuple[int, ...]) -> float:
        whole = (*tokens, END)
        return sum(self(whole[:place])[word] for place, word in enumerate(whole))


def penalised(total: float, tokens: int, power: float) -> float:
    return total / ((5 + tokens) / 6) ** power


def slow_beam(chances: Slow, beams: int, limit: int, power: float) -> list[tuple[float, tuple[int, ...]]]:
    """Search as the papers have it, to the very end: the best candidates, of which those that end are put aside."""
    alive: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for place in range(limit + 1):
        found = []
        for total, written in alive:
            for word, chance in enumerate(chances(written)):
                if chance > -math.inf and (word == END or place < limit):
                    found.append((total + chance, (*written, word)))
        found.sort(reverse=True)
        done += [
            (penalised(total, len(written), power), written[:-1])
            for total, written in found[:beams]
            if written[-1] == END
        ]
        alive = [one for one in found if one[1][-1] != END][:beams]
    return sorted(done, reverse=True)


def test_one_beam_is_the_greedy_search() -> None:
    model = decoder(40, end=1.0)
    for text, (best,) in enumerate(write(model, beams=1)):
        chances, written = Slow(model, text), ()
        while len(written) < 8:
            row = chances(written)
            word = max(range(len(row)), key=row.__getitem__)
            if word == END:
                break
            written = (*written, word)
        assert tuple(best.tokens.tolist()) == written
        assert best.log_probability == pytest.approx(chances.sum_of(written), abs=1e-4)


@pytest.mark.parametrize("power", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", [3, 4])
def test_a_beam_that_holds_everything_finds_the_best_of_all_texts(seed: int, power: float) -> None:
    model, limit = decoder(6, seed=seed), 3
    found = write(model, beams=32, n_best=5, length_penalty=power, limits=[limit] * len(SOURCES))
    for text, best in enumerate(found):
        chances = Slow(model, text)
        everything = [words for length in range(limit + 1) for words in itertools.product((3, 4, 5), repeat=length)]
        ranked = sorted(
            ((penalised(chances.sum_of(words), len(words) + 1, power), words) for words in everything), reverse=True
        )
        for hypothesis, (score, words) in zip(best, ranked[:5], strict=True):
            assert tuple(hypothesis.tokens.tolist()) == words
            assert hypothesis.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(("beams", "best"), [(2, 1), (3, 3), (5, 2)])
@pytest.mark.parametrize("power", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("end", [-1.0, 2.0])
def test_giving_up_early_never_changes_what_is_found(end: float, power: float, beams: int, best: int) -> None:
    model = decoder(25, end=end)
    found = write(model, beams=beams, n_best=best, length_penalty=power)
    for text, hypotheses in enumerate(found):
        expected = slow_beam(Slow(model, text), beams, 8, power)[:best]
        assert [tuple(one.tokens.tolist()) for one in hypotheses] == [words for _, words in expected]
        assert [one.score for one in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-4)


def test_every_text_keeps_to_its_own_limit() -> None:
    model, limits = decoder(40, end=-9.0), [1, 5, 2, 9, 3]
    found = write(model, limits=limits, beams=3)
    assert [len(best.tokens) for (best,) in found] == limits
    for text, (best,) in enumerate(found):
        words = tuple(best.tokens.tolist())
        assert best.log_probability == pytest.approx(Slow(model, text).sum_of(words), abs=1e-3)
        assert best.token_probability == pytest.approx(math.exp(best.log_probability / (len(words) + 1)))


@pytest.mark.parametrize("sampling", [False, True])
def test_a_text_is_written_alone_as_among_others(sampling: bool) -> None:
    model = decoder(40, end=2.0)
    options: dict[str, int | float | bool] = {"beams": 3, "n_best": 2, "sampling": sampling}
    together = write(model, limits=[3, 8, 8, 5, 20], **options)
    memory = memory_of(SOURCES)
    starts = [0, *itertools.accumulate(SOURCES)]
    for text, limit in enumerate([3, 8, 8, 5, 20]):
        with torch.no_grad():
            (alone,) = generate(
                model,
                memory[starts[text] : starts[text + 1]],
                [SOURCES[text]],
                limits=[limit],
                vocabulary=Vocabulary(begin=BEGIN, end=END, forbidden=(0,)),
                settings=GenerationSettings(**options),  # type: ignore[arg-type]  # fields of several types
                keys=[[SOURCES[text], text]],
            )
        assert [one.tokens.tolist() for one in alone] == [one.tokens.tolist() for one in together[text]]
        assert [one.score for one in alone] == pytest.approx([one.score for one in together[text]], abs=1e-4)


def test_many_texts_are_written_in_groups_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = decoder(40, end=1.0)
    whole = write(model, beams=2)
    monkeypatch.setattr("albertine.models.generation._SCORES", 2 * 2 * 40)
    parts = write(model, beams=2)
    assert [one.tokens.tolist() for (one,) in whole] == [one.tokens.tolist() for (one,) in parts]


def test_no_text_ends_before_its_least_length() -> None:
    model = decoder(40, end=9.0)
    assert {len(best.tokens) for (best,) in write(model, beams=3)} == {0}
    found = write(model, beams=3, min_length=4, limits=[8, 8, 8, 8, 2])
    assert [len(best.tokens) for (best,) in found] == [4, 4, 4, 4, 2]


@pytest.mark.parametrize("sampling", [False, True])
def test_no_run_of_words_is_written_twice(sampling: bool) -> None:
    model = decoder(6, end=-3.0)
    free = write(model, limits=[12] * 5, beams=2, sampling=sampling)
    bound = write(model, limits=[12] * 5, beams=2, sampling=sampling, no_repeat_ngram=2)

    def repeats(tokens: list[int]) -> bool:
        runs = list(itertools.pairwise(tokens))
        return len(set(runs)) < len(runs)

    assert any(repeats(best.tokens.tolist()) for (best,) in free)
    assert not any(repeats(best.tokens.tolist()) for (best,) in bound)


@pytest.mark.parametrize("sampling", [False, True])
def test_special_tokens_and_rows_without_a_token_are_never_written(sampling: bool) -> None:
    model = decoder(12, end=-2.0)
    with torch.no_grad():
        model.bias[[0, BEGIN, 3, 10, 11]] += 5.0
    vocabulary = Vocabulary(begin=BEGIN, end=END, forbidden=(0, 3), size=10)
    found = write(model, vocabulary=vocabulary, beams=3, n_best=3, sampling=sampling)
    written = {word for texts in found for one in texts for word in one.tokens.tolist()}
    assert written <= {4, 5, 6, 7, 8, 9}
    assert len(written) > 2


def test_several_texts_come_best_first_and_differ() -> None:
    found = write(decoder(40), beams=4, n_best=4)
    for texts in found:
        scores = [one.score for one in texts]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(one.tokens.tolist()) for one in texts}) == 4


def test_samples_are_drawn_as_often_as_they_are_probable() -> None:
    model, draws = decoder(7, end=1.0), 1500
    chances = Slow(model, 0)
    memory = memory_of(SOURCES)[: SOURCES[0]]
    with torch.no_grad():
        (found,) = generate(
            model,
            memory,
            SOURCES[:1],
            limits=[2],
            vocabulary=Vocabulary(begin=BEGIN, end=END, forbidden=(0,)),
            settings=GenerationSettings(sampling=True, n_best=draws),
            keys=[[1, 2, 3]],
        )
    counts: dict[tuple[int, ...], int] = {}
    for one in found:
        words = tuple(one.tokens.tolist())
        counts[words] = counts.get(words, 0) + 1
        assert one.log_probability == pytest.approx(chances.sum_of(words), abs=1e-4)
    for words, count in counts.items():
        # a text of two words ends there, whatever would have come
        whole = (*words, END) if len(words) < 2 else words
        chance = math.exp(sum(chances(whole[:place])[word] for place, word in enumerate(whole)))
        assert abs(count / draws - chance) < 4 * math.sqrt(chance * (1 - chance) / draws) + 1e-3


def test_a_seed_gives_the_same_samples_and_another_one_others() -> None:
    model = decoder(40)
    first, again, other = (
        [[one.tokens.tolist() for one in texts] for texts in write(model, sampling=True, n_best=2, sampling_seed=seed)]
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_sampling_without_chance_is_the_greedy_search() -> None:
    model = decoder(40, end=1.0)
    greedy = [best.tokens.tolist() for (best,) in write(model, beams=1)]
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"sampling_temperature": 1e-4}):
        drawn = write(model, sampling=True, **options)  # type: ignore[arg-type]  # fields of several types
        assert [best.tokens.tolist() for (best,) in drawn] == greedy


@pytest.mark.parametrize("sampling", [False, True])
def test_in_bf16_texts_are_written_too(sampling: bool) -> None:
    model = decoder(300, end=3.0)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = write(model, beams=3, sampling=sampling)
    for text, (best,) in enumerate(found):
        exact = Slow(model, text).sum_of(tuple(best.tokens.tolist()))
        assert best.log_probability == pytest.approx(exact, rel=0.1, abs=0.3)


def test_the_penalty_is_the_papers() -> None:
    found = length_penalty(torch.tensor([1.0, 7.0, 25.0]), 0.6)
    assert found.tolist() == pytest.approx([1.0, 2**0.6, 5**0.6])


def test_tokens_come_as_numbers_without_their_frame() -> None:
    ((best,), *_) = write(decoder(40, end=1.0))
    assert best.tokens.dtype == np.int64
    assert not {BEGIN, END} & set(best.tokens.tolist())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beams", 0),
        ("n_best", 5),
        ("min_length", -1),
        ("no_repeat_ngram", -1),
        ("length_penalty", -0.1),
        ("length_penalty", math.inf),
        ("sampling_temperature", 0.0),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("sampling_seed", -1),
    ],
)
def test_settings_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        replace(GenerationSettings(), **{field: value})


def test_more_samples_than_beams_may_be_drawn() -> None:
    assert GenerationSettings(sampling=True, n_best=9).alternatives == 9
