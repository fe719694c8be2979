"""ROUGE by hand, BLEU and chrF by hand and held against sacrebleu."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable

import numpy as np
import pytest

from albertine.errors import DataError, MissingDependencyError
from albertine.evaluation import generation
from albertine.evaluation.generation import (
    CHECKSUM,
    EVIDENCE_COLUMNS,
    bleu_of_sums,
    chrf_of_sums,
    generation_evidence,
    generation_metrics,
    generation_rankings,
    refuse_missing_sacrebleu,
    rouge_l,
    rouge_n,
    signatures,
)

WORDS = ["the", "a", "dog", "cat", "runs", "sits", "over", "near", "house", ",", ".", "T-shirt", "3.5", "don't"]


def texts(count: int, seed: int, *, shortest: int = 1) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(shortest, 14))) for _ in range(count)]


def counted(text: str, reference: str) -> list[int]:
    """Count what BLEU does, for texts whose words are divided by blanks."""
    ours, theirs = text.split(), reference.split()
    matches, totals = [], []
    for n in range(1, 5):
        grams = [tuple(ours[place : place + n]) for place in range(len(ours) - n + 1)]
        expected = [tuple(theirs[place : place + n]) for place in range(len(theirs) - n + 1)]
        matches.append(sum(min(grams.count(one), expected.count(one)) for one in set(grams)))
        totals.append(len(grams))
    return [len(ours), len(theirs), *matches, *totals]


def test_rouge_of_the_papers_sentences() -> None:
    # Lin 2004, section 3.1: S1 police killed the gunman; S2 police kill the gunman; S3 the gunman kill police
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", [reference]) == pytest.approx(3 / 4)
    assert rouge_l("the gunman kill police", [reference]) == pytest.approx(2 / 4)
    # "the gunman" is the one pair of words that either has in common with the reference
    assert rouge_n("police kill the gunman", [reference], 2) == pytest.approx(1 / 3)
    assert rouge_n("the gunman kill police", [reference], 2) == pytest.approx(1 / 3)
    assert rouge_n("the gunman kill police", [reference], 1) == pytest.approx(3 / 4)


def test_rouge_is_an_f_measure_that_counts_a_word_as_often_as_both_have_it() -> None:
    # common: the, the, cat; 6 words written, 4 in the reference
    assert rouge_n("the the the cat sat down", ["the cat the mat"], 1) == pytest.approx(2 * 3 / (6 + 4))
    # in order: the, the or the, cat
    assert rouge_l("the the the cat sat down", ["the cat the mat"]) == pytest.approx(2 * 2 / (6 + 4))


def test_rouge_of_several_references_is_the_best_one() -> None:
    references = ["nothing alike", "a dog runs", "a dog"]
    assert rouge_n("a dog", references, 1) == 1.0
    assert rouge_n("a dog", references, 2) == 1.0
    assert rouge_l("a cat runs", references) == pytest.approx(2 * 2 / 6)


def test_rouge_does_not_look_at_case_and_punctuation() -> None:
    assert rouge_l("The DOG runs!", ["the dog, runs"]) == 1.0
    assert rouge_n("Straße", ["straße."], 1) == 1.0


def test_every_chinese_character_is_a_word() -> None:
    # 今天很好 and 今天不好: three of four in order; 今天 is the one pair in common
    assert rouge_l("今天很好", ["今天不好。"]) == pytest.approx(3 / 4)
    assert rouge_n("今天很好", ["今天不好"], 2) == pytest.approx(1 / 3)
    assert rouge_n("用BERT模型", ["用 bert 模型"], 1) == 1.0


@pytest.mark.parametrize(("text", "reference"), [("", "a dog"), ("...", "a dog"), ("cats", "a dog"), ("a", "...")])
def test_rouge_of_nothing_in_common_is_zero(text: str, reference: str) -> None:
    assert rouge_l(text, [reference]) == rouge_n(text, [reference], 1) == rouge_n(text, [reference], 2) == 0.0


def test_the_common_subsequence_is_that_of_the_table_of_the_textbook() -> None:
    generator = random.Random(3)
    for _ in range(200):
        first, second = (generator.choices("abcd", k=generator.randint(1, 90)) for _ in range(2))
        row = [0] * (len(second) + 1)
        for one in first:
            before = row.copy()
            for place, other in enumerate(second, 1):
                row[place] = before[place - 1] + 1 if one == other else max(before[place], row[place - 1])
        expected = 2 * row[-1] / (len(first) + len(second))
        assert rouge_l(" ".join(first), [" ".join(second)]) == pytest.approx(expected)


def test_bleu_by_hand() -> None:
    # 7 words for 6: the cat is on the mat, with one "the" too many; no brevity penalty
    text, reference = "the cat is on the the mat", "the cat is on the mat"
    statistics = counted(text, reference)
    assert statistics == [7, 6, 6, 5, 3, 2, 7, 6, 5, 4]
    expected = (6 / 7 * 5 / 6 * 3 / 5 * 2 / 4) ** (1 / 4)
    assert bleu_of_sums(np.array([statistics]))[0] == pytest.approx(expected)


def test_a_short_text_pays_the_brevity_penalty() -> None:
    statistics = counted("the cat is on the", "the cat is on the mat now")
    assert bleu_of_sums(np.array([statistics]))[0] == pytest.approx(math.exp(1 - 7 / 5))


def test_an_order_without_matches_is_smoothed_and_nothing_at_all_is_zero() -> None:
    # 2 of 4 words, none of 3 pairs, none of 2 triples, none of 1 four: a half, a quarter, an eighth
    statistics = counted("the x cat y", "the a cat b")
    expected = (2 / 4 * 0.5 / 3 * 0.25 / 2 * 0.125 / 1) ** (1 / 4)
    assert bleu_of_sums(np.array([statistics]))[0] == pytest.approx(expected)
    nothing = [counted("x y z w", "the a cat b"), counted("", "the a cat b"), counted("the a cat", "the a cat b")]
    assert bleu_of_sums(np.array(nothing)).tolist() == [0.0, 0.0, 0.0]


def test_chrf_by_hand() -> None:
    # "abc" for "abd": 2 of 3 characters, 1 of 2 pairs, none of 1 triple; longer ones neither has
    statistics = [3, 3, 2, 2, 2, 1, 1, 1, 0, *[0] * 9]
    share = (2 / 3 + 1 / 2 + 0) / 3
    assert chrf_of_sums(np.array([statistics]))[0] == pytest.approx(share)
    # "ab" for "abcd": precision 1, 1; recall 2/4, 1/3; what only the reference has does not count
    statistics = [2, 4, 2, 1, 3, 1, 0, 2, 0, 0, 1, 0, *[0] * 6]
    precision, recall = 1.0, (2 / 4 + 1 / 3) / 2
    expected = 5 * precision * recall / (4 * precision + recall)
    assert chrf_of_sums(np.array([statistics]))[0] == pytest.approx(expected)
    assert chrf_of_sums(np.zeros((1, 18)))[0] == 0.0


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    generation._bleu.cache_clear()
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MissingDependencyError, match=r"albertine\[seq2seq\]"):
        refuse_missing_sacrebleu()
    generation._bleu.cache_clear()


def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let words be divided by blanks, so that the rest can be tested where sacrebleu is not installed."""
    monkeypatch.setattr(generation, "_bleu_statistics", lambda text, reference, tokenizer: counted(text, reference))


def test_evidence_holds_what_the_metrics_are_sums_of(monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed(monkeypatch)
    written, references = texts(40, 1), texts(40, 2)
    written[3] = references[3]
    written[7] = "  " + references[7].replace(" ", "  ")
    evidence = generation_evidence(written, references, "none")
    assert evidence.shape == (40, len(EVIDENCE_COLUMNS))
    metrics = generation_metrics(evidence)
    for name, metric in generation_rankings().items():
        assert metric.statistics is not None
        assert metric.of_sums is not None
        statistics = metric.statistics(evidence)
        assert metric.of(evidence) == metrics[name] == pytest.approx(metric.of_sums(statistics.sum(axis=0)[None])[0])
        # resamples of the texts, all at once and one by one
        draws = np.random.default_rng(5).integers(0, 40, (6, 40))
        counts = np.stack([np.bincount(draw, minlength=40) for draw in draws])
        at_once = metric.of_sums(counts @ statistics)
        assert at_once.tolist() == pytest.approx([metric.of(evidence[draw]) for draw in draws])
        if metric.bounded:
            assert 0 <= metric.of(evidence) <= 1
    exact = sum(
        " ".join(one.split()) == " ".join(other.split()) for one, other in zip(written, references, strict=True)
    )
    assert metrics["exact_match"] == pytest.approx(exact / 40)
    assert exact >= 2
    assert metrics["length_ratio"] == pytest.approx(
        sum(len(one.split()) for one in written) / sum(len(one.split()) for one in references)
    )
    assert len(set(evidence[:, CHECKSUM])) == len(set(written))


def test_the_perfect_text_has_every_metric_at_its_top(monkeypatch: pytest.MonkeyPatch) -> None:
    stubbed(monkeypatch)
    references = texts(9, 4, shortest=5)
    found = generation_metrics(generation_evidence(references, references, "none"))
    assert found == pytest.approx(
        {"bleu": 1, "chrf": 1, "rouge1": 1, "rouge2": 1, "rougeL": 1, "exact_match": 1, "length_ratio": 1}
    )


def test_nothing_to_evaluate_is_said_so() -> None:
    with pytest.raises(DataError, match="no items"):
        generation_metrics(np.zeros((0, len(EVIDENCE_COLUMNS))))


CHINESE = ["今天天气很好。", "我喜欢看书,也喜欢写字!", "你好,世界。", "BERT 模型很大。"]


@pytest.mark.parametrize("tokenizer", ["13a", "zh", "intl", "char", "none"])
@pytest.mark.parametrize("short", [False, True])
def test_bleu_and_chrf_are_those_of_sacrebleu(tokenizer: generation.BleuTokenizer, short: bool) -> None:
    metrics = pytest.importorskip("sacrebleu.metrics", reason="sacrebleu is not installed", exc_type=ImportError)
    written, references = ([*texts(3 if short else 60, seed), *(CHINESE if not short else [])] for seed in (1, 2))
    if not short:
        references[:20] = written[:20]
        written[-4:] = CHINESE[1:] + CHINESE[:1]
        written[5] = ""
    found = generation_metrics(generation_evidence(written, references, tokenizer))
    expected = metrics.BLEU(tokenize=tokenizer).corpus_score(written, [references])
    assert 100 * found["bleu"] == pytest.approx(expected.score)
    assert 100 * found["chrf"] == pytest.approx(metrics.CHRF().corpus_score(written, [references]).score)
    assert found["length_ratio"] == pytest.approx(expected.sys_len / expected.ref_len)


def test_signatures_say_how_it_was_measured() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed", exc_type=ImportError)
    found = signatures("13a")
    assert "tok:13a" in found["bleu"]
    assert "case:mixed" in found["bleu"]
    assert "eff:no" in found["bleu"]
    assert "nc:6" in found["chrf"]
    assert all("version:" in one and "nrefs:1" in one for one in found.values())


def test_the_statistics_of_chrf_leave_out_blanks_and_orders_that_the_reference_lacks() -> None:
    statistics: Callable[[str, str], list[int]] = generation._chrf_statistics
    assert statistics("a b c", "ab") == [3, 2, 2, 2, 1, 1, *[0] * 12]
