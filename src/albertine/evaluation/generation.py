"""How near written texts come to their references: BLEU, chrF, ROUGE; each a function of sums or means over the texts.

N texts. All lie between 0 and 1, as every metric here; BLEU and chrF times 100 are what papers and sacrebleu give.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from albertine.errors import DataError, MissingDependencyError
from albertine.evaluation.metrics import FloatArray, Metric

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

__all__ = [
    "CHECKSUM",
    "EVIDENCE_COLUMNS",
    "BleuTokenizer",
    "bleu_of_sums",
    "chrf_of_sums",
    "generation_evidence",
    "generation_metrics",
    "generation_rankings",
    "refuse_missing_sacrebleu",
    "rouge_l",
    "rouge_n",
    "signatures",
]

BleuTokenizer = Literal["13a", "zh", "intl", "char", "none"]
"""How sacrebleu cuts texts into words before BLEU is computed: 13a as in the WMT evaluations, zh for Chinese."""

BLEU_ORDER = 4
CHRF_ORDER, CHRF_BETA = 6, 2
_TINY = 1e-16

_BLEU = slice(0, 2 + 2 * BLEU_ORDER)
"""In the evidence: words of the text, of the reference, matches of n = 1 … 4, n-grams of the text of n = 1 … 4."""
_CHRF = slice(_BLEU.stop, _BLEU.stop + 3 * CHRF_ORDER)
"""For n = 1 … 6: character n-grams of the text, of the reference, of both."""
_MEANS = ("rouge1", "rouge2", "rougeL", "exact_match")
CHECKSUM = _CHRF.stop + len(_MEANS)
"""The column of a checksum of the text: the same for the same text."""

EVIDENCE_COLUMNS = (
    "bleu_written",
    "bleu_reference",
    *(f"bleu_matches_{n}" for n in range(1, BLEU_ORDER + 1)),
    *(f"bleu_totals_{n}" for n in range(1, BLEU_ORDER + 1)),
    *(f"chrf_{kind}_{n}" for n in range(1, CHRF_ORDER + 1) for kind in ("written", "reference", "matches")),
    *_MEANS,
    "checksum",
)
"""The names of the columns of `generation_evidence`."""

# Chinese and Japanese characters, each of which is a word.
_EACH = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")


def refuse_missing_sacrebleu() -> None:
    """Make sure that BLEU can be computed.

    Raises:
        MissingDependencyError: sacrebleu is not installed.
    """
    _bleu("none")


def signatures(tokenizer: BleuTokenizer) -> dict[str, str]:
    """Return sacrebleu's signatures of BLEU and chrF, which say how they were computed and by which version.

    Raises:
        MissingDependencyError: sacrebleu is not installed.
    """
    bleu = _bleu(tokenizer)
    from sacrebleu.metrics import CHRF

    chrf = CHRF(char_order=CHRF_ORDER, beta=CHRF_BETA)
    for metric in (bleu, chrf):  # the number of references is part of a signature
        metric.corpus_score(["one"], [["one"]])
    return {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}


def generation_evidence(
    written: Sequence[str], references: Sequence[str], tokenizer: BleuTokenizer
) -> npt.NDArray[np.float64]:
    """Return [N, K] what is kept of every text; the columns are `EVIDENCE_COLUMNS`.

    Args:
        written: N texts.
        references: the text that each of them should be, not empty.
        tokenizer: of BLEU.

    Raises:
        MissingDependencyError: sacrebleu is not installed.
    """
    assert len(written) == len(references), "a reference for every text"
    rows = np.zeros((len(written), len(EVIDENCE_COLUMNS)))
    for row, text, reference in zip(rows, written, references, strict=True):
        row[_BLEU] = _bleu_statistics(text, reference, tokenizer)
        row[_CHRF] = _chrf_statistics(text, reference)
        row[_CHRF.stop : CHECKSUM] = (
            rouge_n(text, [reference], 1),
            rouge_n(text, [reference], 2),
            rouge_l(text, [reference]),
            float(" ".join(text.split()) == " ".join(reference.split())),
        )
        row[CHECKSUM] = zlib.crc32(text.encode("utf-8", "surrogatepass"))
    return rows


def generation_metrics(evidence: FloatArray) -> dict[str, float]:
    """Return every metric of written texts.

    Args:
        evidence: as from `generation_evidence`.

    Returns:
        bleu, chrf, rouge1, rouge2, rougeL, exact_match, and length_ratio (words written over words of the references,
        as BLEU counts them; below 1 BLEU is scaled down).

    Raises:
        DataError: there are no texts.
    """
    if not len(evidence):
        raise DataError("there are no items to evaluate", next_step="Give a file with at least one source and target")
    written, reference = evidence[:, :2].sum(axis=0)
    return {
        **{name: metric.of(evidence) for name, metric in generation_rankings().items()},
        "length_ratio": float(written / reference) if reference else 0.0,
    }


@cache
def generation_rankings() -> dict[str, Metric]:
    """Return the metrics by which models that write can be ranked, by their key in `generation_metrics`."""

    def of_sums_of(part: slice, formula: Callable[[FloatArray], FloatArray], name: str) -> Metric:
        return Metric(
            name=name,
            of=lambda evidence: float(formula(evidence[:, part].sum(axis=0)[None])[0]),
            statistics=lambda evidence: evidence[:, part],
            of_sums=formula,
            bounded=False,
        )

    def mean(column: int, name: str) -> Metric:
        return Metric(
            name=name,
            of=lambda evidence: float(evidence[:, column].mean()),
            statistics=lambda evidence: np.stack([evidence[:, column], np.ones(len(evidence))], axis=1),
            of_sums=lambda sums: sums[:, 0] / sums[:, 1],
        )

    return {
        "bleu": of_sums_of(_BLEU, bleu_of_sums, "bleu"),
        "chrf": of_sums_of(_CHRF, chrf_of_sums, "chrf"),
        **{name: mean(_CHRF.stop + place, name) for place, name in enumerate(_MEANS)},
    }


def bleu_of_sums(sums: FloatArray) -> FloatArray:
    """Return corpus BLEU (Papineni et al. 2002), smoothed as sacrebleu does by default, 0 to 1.

    An n without any match counts as half a match, the next one as a quarter, and so on (the NIST smoothing, method 3 of
    Chen and Cherry 2014); without a single matching word, or without any 4-gram, BLEU is 0.

    Args:
        sums: [R, 10] over the texts: words written, words of the references, matches and n-grams of n = 1 … 4.

    Returns:
        [R].
    """
    sums = np.asarray(sums, dtype=np.float64)
    written, reference = sums[:, 0], sums[:, 1]
    matches, totals = sums[:, 2 : 2 + BLEU_ORDER], sums[:, 2 + BLEU_ORDER :]
    missed = (matches == 0) & (totals > 0)
    halvings = np.where(missed, np.cumsum(missed, axis=1), 0)
    counted = np.where(missed, 0.5**halvings, matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.where(totals > 0, np.log(counted) - np.log(totals), -np.inf)
        brevity = np.where(written < reference, 1 - reference / written, 0.0)
    score: FloatArray = np.exp(brevity + logarithms.mean(axis=1))
    return np.where(matches.any(axis=1), score, 0.0)


def chrf_of_sums(sums: FloatArray) -> FloatArray:
    """Return corpus chrF2 (Popović 2015, with the beta of 2016), 0 to 1, as sacrebleu computes it.

    Args:
        sums: [R, 18] over the texts, for n = 1 … 6: character n-grams written, of the references, of both. An n that
            one side has no n-grams of does not count.

    Returns:
        [R].
    """
    sums = np.asarray(sums, dtype=np.float64)
    written, reference, matches = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    counted = (written > 0) & (reference > 0)
    orders = np.maximum(counted.sum(axis=1), 1)
    precision = np.where(counted, matches / np.maximum(written, 1), 0.0).sum(axis=1) / orders
    recall = np.where(counted, matches / np.maximum(reference, 1), 0.0).sum(axis=1) / orders
    weight = CHRF_BETA**2
    below = weight * precision + recall
    found: FloatArray = (1 + weight) * precision * recall / np.where(below > 0, below, 1.0)
    return found


def rouge_n(text: str, references: Sequence[str], n: int) -> float:
    """Return ROUGE-N (Lin 2004, section 2) as F-measure: of several references the best one's.

    Words are compared without regard to case and punctuation; every Chinese or Japanese character is a word.

    Args:
        text: what was written.
        references: what should have been, one or more.
        n: words of an n-gram.
    """
    ours = _ngrams(_words(text), n)
    found = []
    for reference in references:
        theirs = _ngrams(_words(reference), n)
        found.append(_f_measure((ours & theirs).total(), ours.total(), theirs.total()))
    return max(found)


def rouge_l(text: str, references: Sequence[str]) -> float:
    """Return ROUGE-L (Lin 2004, section 3.1) as F-measure, by the longest common subsequence of words.

    The arguments, and what a word is, are those of `rouge_n`.
    """
    ours = _words(text)
    found = []
    for reference in references:
        theirs = _words(reference)
        found.append(_f_measure(_common(ours, theirs), len(ours), len(theirs)))
    return max(found)


def _words(text: str) -> list[str]:
    """Cut a text into words in lower case and single Chinese and Japanese characters."""
    spaced = _EACH.sub(lambda match: f" {match[0]} ", text.lower())
    return re.findall(r"[^\W_]+", spaced)


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[first : first + n]) for first in range(len(words) - n + 1))


def _f_measure(common: int, written: int, reference: int) -> float:
    return 2 * common / (written + reference) if common else 0.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence (Hyyrö 2004: a row of the table is the bits of a number)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(first)) - 1
    row = everything
    for word in second:
        matching = row & places.get(word, 0)
        row = ((row + matching) | (row - matching)) & everything
    return len(first) - row.bit_count()


@cache
def _bleu(tokenizer: BleuTokenizer) -> BLEU:
    """Return sacrebleu's BLEU."""
    assert tokenizer in get_args(BleuTokenizer), "one of the tokenizers"
    try:
        from sacrebleu.metrics import BLEU
    except ModuleNotFoundError as error:
        raise MissingDependencyError("sacrebleu", extra="seq2seq", feature="measuring written texts (BLEU)") from error
    return BLEU(tokenize=tokenizer)


def _bleu_statistics(text: str, reference: str, tokenizer: BleuTokenizer) -> list[int]:
    score = _bleu(tokenizer).corpus_score([text], [[reference]])
    return [score.sys_len, score.ref_len, *score.counts, *score.totals]


def _chrf_statistics(text: str, reference: str) -> list[int]:
    ours, theirs = "".join(text.split()), "".join(reference.split())
    counts: list[int] = []
    for n in range(1, CHRF_ORDER + 1):
        written = Counter(ours[first : first + n] for first in range(len(ours) - n + 1))
        expected = Counter(theirs[first : first + n] for first in range(len(theirs) - n + 1))
        # Where the reference is too short for any, those written do not count, as in sacrebleu.
        counts += [written.total() if expected else 0, expected.total(), (written & expected).total()]
    return counts
