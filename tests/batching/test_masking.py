"""Which tokens are masked: budgets, whole words, n-grams, what stands in their place."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertine.batching.masking import (
    MaskedTokens,
    MaskingChoices,
    MaskingSchedule,
    MaskingUnit,
    TokenFacts,
    mask_batch,
)
from albertine.errors import ConfigError, TokenizerError
from albertine.tokenization.normalization import Rules
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import SPECIAL_TOKENS, WordPieceModel

PAD, UNK, CLS, SEP, MASK = range(5)
FIRST_TEXT_ID, VOCABULARY = 20, 1000
UNITS: list[MaskingUnit] = ["pieces", "whole-words", "n-grams"]

Text = list[list[list[int]]]
"""Segments of words of ids."""


def facts() -> TokenFacts:
    special = np.zeros(VOCABULARY, dtype=np.bool_)
    special[:5] = True
    return TokenFacts(
        cls_id=CLS, sep_id=SEP, mask_id=MASK, special=special, drawable=np.arange(FIRST_TEXT_ID, VOCABULARY)
    )


def flat(texts: list[Text]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ids, starts of texts, and starts of words."""
    ids, starts, words = [], [0], []
    for text in texts:
        ids.append(CLS)
        words.append(False)
        for segment in text:
            for word in segment:
                ids += word
                words += [True] + [False] * (len(word) - 1)
            ids.append(SEP)
            words.append(False)
        starts.append(len(ids))
    return np.array(ids), np.array(starts), np.array(words)


def mask(texts: list[Text], choices: MaskingChoices, share: float, seed: int = 0) -> MaskedTokens:
    ids, starts, words = flat(texts)
    return mask_batch(
        ids,
        sequence_starts=starts,
        word_starts=words,
        facts=facts(),
        choices=choices,
        share=share,
        generator=np.random.default_rng(seed),
    )


def some_texts(count: int, words: int, seed: int, longest_word: int = 4) -> list[Text]:
    """Make texts of two segments whose words have 1 (mostly) to `longest_word` tokens."""
    generator = np.random.default_rng(seed)

    def segment(size: int) -> list[list[int]]:
        lengths = np.minimum(generator.geometric(0.7, size=size), longest_word)
        return [generator.integers(FIRST_TEXT_ID, VOCABULARY, size=length).tolist() for length in lengths]

    return [[segment(words // 2), segment(words - words // 2)] for _ in range(count)]


WORDS = st.lists(st.one_of(st.just(UNK), st.integers(FIRST_TEXT_ID, VOCABULARY - 1)), min_size=1, max_size=5)
TEXTS = st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=14), min_size=1, max_size=2), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    texts=TEXTS,
    unit=st.sampled_from(UNITS),
    share=st.floats(0.01, 0.9),
    longest=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_what_must_hold_of_every_masked_batch(
    texts: list[Text], unit: MaskingUnit, share: float, longest: int, seed: int
) -> None:
    ids, starts, _ = flat(texts)
    masked = mask(texts, MaskingChoices(unit=unit, longest=longest), share, seed)
    chosen = np.zeros(len(ids), dtype=bool)
    chosen[masked.positions] = True
    assert np.array_equal(masked.targets, ids[masked.positions])
    assert np.array_equal(masked.input_ids[~chosen], ids[~chosen])
    assert np.all(np.diff(masked.positions) > 0)
    assert not np.any(chosen[ids < FIRST_TEXT_ID]), "a special token was masked"
    shown = masked.input_ids[chosen]
    assert np.all((shown == MASK) | (shown >= FIRST_TEXT_ID)), "a special or unused token was drawn"

    place = 0
    for number, text in enumerate(texts):
        place = int(starts[number]) + 1
        maskable, lengths = 0, []
        for segment in text:
            for word in segment:
                part = chosen[place : place + len(word)]
                place += len(word)
                if unit == "pieces":
                    maskable += sum(one != UNK for one in word)
                    lengths += [1] * sum(one != UNK for one in word)
                elif UNK not in word:
                    assert part.all() or not part.any(), "a word was masked in part"
                    maskable += len(word)
                    lengths.append(len(word))
                else:
                    assert not part.any(), "a word with an unknown part was masked"
            place += 1
        count = int(chosen[starts[number] : starts[number + 1]].sum())
        if not lengths:
            assert count == 0
            continue
        budget = max(1, round(share * maskable))
        if min(lengths) > budget:
            assert count == min(lengths), "the shortest word stands in where none fits"
        else:
            assert budget - max(lengths) < count <= budget
    assert place == len(ids)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("share", [0.15, 0.3, 0.4])
def test_the_share_of_masked_tokens_is_the_one_asked_for(unit: MaskingUnit, share: float) -> None:
    texts = some_texts(60, 97, seed=1)
    ids, _, _ = flat(texts)
    masked = mask(texts, MaskingChoices(unit=unit), share)
    # Every budget is a rounded number, and used to the last token where words of one token are at hand.
    assert len(masked.positions) / np.sum(ids >= FIRST_TEXT_ID) == pytest.approx(share, abs=0.002)


@pytest.mark.parametrize("unit", UNITS)
def test_eight_in_ten_become_mask_one_a_random_token_and_one_stays(unit: MaskingUnit) -> None:
    texts = some_texts(400, 121, seed=2)
    masked = mask(texts, MaskingChoices(unit=unit), 0.3)
    shown, count = masked.input_ids[masked.positions], len(masked.positions)
    assert count > 15_000
    same = 0.1 + 0.1 / (VOCABULARY - FIRST_TEXT_ID)  # a random token may be the one that stood there
    for seen, expected in (
        (np.mean(shown == MASK), 0.8),
        (np.mean(shown == masked.targets), same),
        (np.mean((shown != MASK) & (shown != masked.targets)), 0.2 - same),
    ):
        assert abs(seen - expected) < 4.5 * math.sqrt(expected * (1 - expected) / count)
    drawn = shown[(shown != MASK) & (shown != masked.targets)]
    assert drawn.min() >= FIRST_TEXT_ID
    assert len(np.unique(drawn)) > 700, "the whole vocabulary is drawn from"


def test_the_shares_of_replacements_can_be_chosen() -> None:
    texts = some_texts(20, 51, seed=3)
    only_masks = mask(texts, MaskingChoices(masked=1.0, random=0.0), 0.15)
    assert np.all(only_masks.input_ids[only_masks.positions] == MASK)
    kept = mask(texts, MaskingChoices(masked=0.0, random=0.0), 0.15)
    assert np.array_equal(kept.input_ids, flat(texts)[0])
    assert len(kept.positions) > 0


def test_every_word_is_equally_probable_within_a_segment() -> None:
    text = some_texts(1, 40, seed=4, longest_word=1)[0]
    ids, _, _ = flat([text])
    hits = np.zeros(len(ids))
    for seed in range(1500):
        hits[mask([text], MaskingChoices(), 0.15, seed).positions] += 1
    rates = hits[ids >= FIRST_TEXT_ID] / 1500
    assert rates.mean() == pytest.approx(0.15)
    assert np.all(np.abs(rates - 0.15) < 4.5 * math.sqrt(0.15 * 0.85 / 1500))


def test_lengths_of_ngrams_are_inversely_proportional() -> None:
    # The first spans of a long text: its budget is far from used up, which is all that bends the distribution.
    texts = some_texts(1, 391, seed=5)
    spans = np.concatenate(
        [mask(texts, MaskingChoices(unit="n-grams"), 0.15, seed).span_words[:15] for seed in range(300)]
    )
    assert len(spans) == 4500
    for length, expected in ((1, 6 / 11), (2, 3 / 11), (3, 2 / 11)):
        seen = np.mean(spans == length)
        assert abs(seen - expected) < 4.5 * math.sqrt(expected * (1 - expected) / len(spans)), (length, seen)
    assert spans.max() == 3


@pytest.mark.parametrize(("words", "bias"), [(390, 0.03), (97, 0.06)])
def test_the_end_of_a_budget_shortens_ngrams_a_little(words: int, bias: float) -> None:
    spans = mask(some_texts(150, words, seed=6), MaskingChoices(unit="n-grams"), 0.15).span_words
    seen = np.bincount(spans, minlength=4)[1:] / len(spans)
    assert 6 / 11 < seen[0] < 6 / 11 + bias, "shortened spans are counted with the shorter ones"
    assert 3 / 11 - bias < seen[1] < 3 / 11 + bias
    assert 2 / 11 - bias < seen[2] < 2 / 11


def test_spans_do_not_overlap_and_keep_to_their_segment() -> None:
    # Segments of two words: a span of three would have to reach over [SEP].
    texts: list[Text] = [[[[30], [31]], [[32], [33]]] for _ in range(200)]
    masked = mask(texts, MaskingChoices(unit="n-grams", longest=3), 0.5)
    assert masked.span_words.max() == 2
    assert masked.span_words.sum() == len(masked.positions) == 400, "all budgets are used, no word is in two spans"
    long = mask(some_texts(50, 61, seed=7), MaskingChoices(unit="n-grams", longest=4), 0.4)
    ids, _, words = flat(some_texts(50, 61, seed=7))
    first_tokens = words[long.positions] & (ids[long.positions] >= FIRST_TEXT_ID)
    assert long.span_words.sum() == first_tokens.sum()


def test_chinese_words_of_several_characters_are_masked_whole() -> None:
    tokenizer = Tokenizer(
        WordPieceModel([*SPECIAL_TOKENS, *"我们喜欢北京烤鸭的味道"], rules=Rules(lowercase=True, strip_accents=True))
    )
    tokens = tokenizer.tokenize(["我们喜欢北京烤鸭的味道"] * 300)
    # 我们/喜欢/北京烤鸭/的/味道: the segmenter's words, not the tokenizer's, which cuts at every character.
    starts = np.isin(np.arange(len(tokens.ids)) % 13, [1, 3, 5, 9, 10])
    masked = mask_batch(
        tokens.ids,
        sequence_starts=tokens.starts,
        word_starts=starts,
        facts=TokenFacts.of(tokenizer),
        choices=MaskingChoices(unit="whole-words"),
        share=0.4,
        generator=np.random.default_rng(1),
    )
    met = set()
    for text in range(300):
        inside = masked.positions[(masked.positions >= 13 * text) & (masked.positions < 13 * text + 13)] - 13 * text
        places = set(inside.tolist())
        for word in ({1, 2}, {3, 4}, {5, 6, 7, 8}, {9}, {10, 11}):
            assert not word & places or word <= places
            if word <= places:
                met.add(min(word))
    assert met == {1, 3, 5, 9, 10}


def test_a_token_behind_cls_or_sep_begins_a_word_whatever_was_said() -> None:
    ids = np.array([CLS, 30, 31, SEP, 40, 41, SEP])
    for seed in range(20):
        masked = mask_batch(
            ids,
            sequence_starts=np.array([0, 7]),
            word_starts=np.zeros(7, dtype=np.bool_),
            facts=facts(),
            choices=MaskingChoices(),
            share=0.5,
            generator=np.random.default_rng(seed),
        )
        assert masked.positions.tolist() in ([1, 2], [4, 5])


def test_a_schedule_falls_on_a_straight_line() -> None:
    schedule = MaskingSchedule(first=0.30, last=0.15)
    assert [schedule.at(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.30, 0.225, 0.15])
    assert schedule.at(-1.0) == pytest.approx(0.30)
    assert schedule.at(7.0) == pytest.approx(0.15)
    assert MaskingSchedule().at(0.3) == 0.15


def test_the_same_generator_gives_the_same_masks() -> None:
    texts = some_texts(9, 31, seed=8)
    choices = MaskingChoices(unit="n-grams")
    one, again, other = (mask(texts, choices, 0.15, seed) for seed in (5, 5, 6))
    assert np.array_equal(one.input_ids, again.input_ids)
    assert not np.array_equal(one.positions, other.positions)


def test_special_and_unused_tokens_are_not_drawn() -> None:
    tokens = [*SPECIAL_TOKENS, *(f"[unused{index}]" for index in range(7)), "a", "[unusedx]", "b"]
    tokenizer = Tokenizer(WordPieceModel(tokens, rules=Rules(lowercase=True, strip_accents=True)))
    found = TokenFacts.of(tokenizer)
    assert [tokens[index] for index in found.drawable] == ["a", "[unusedx]", "b"]
    assert [tokens[index] for index in np.flatnonzero(found.special)] == list(SPECIAL_TOKENS)
    assert (found.cls_id, found.sep_id, found.mask_id) == (2, 3, 4)


def test_a_vocabulary_without_text_is_refused() -> None:
    model = WordPieceModel([*SPECIAL_TOKENS, "[unused0]"], rules=Rules(lowercase=True, strip_accents=True))
    with pytest.raises(TokenizerError, match="no tokens of text"):
        TokenFacts.of(Tokenizer(model))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "letters"}, "letters"),
        ({"longest": 0}, "n-gram"),
        ({"masked": 0.8, "random": 0.3}, "together at most 1"),
        ({"masked": -0.1}, "0 or more"),
    ],
)
def test_choices_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskingChoices(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"first": 0.0}, {"last": 1.0}, {"first": float("nan")}])
def test_shares_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        MaskingSchedule(**wrong)
