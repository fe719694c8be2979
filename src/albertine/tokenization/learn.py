"""A first, small vocabulary learnt from a user's own texts.

Chinese characters are taken by frequency, pieces of other words by byte-pair merges (the pair that occurs most often
is joined first, Sennrich et al. 2016), and the result is used as a WordPiece vocabulary. It is not WordPiece's own
training, which chooses by likelihood. The same texts give the same vocabulary, to the byte, in any order.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from albertine.errors import ConfigError, DataError
from albertine.tokenization.normalization import ASCII_WORDS, Rules, basic_words, part_pattern
from albertine.tokenization.tokenizer import Tokenizer
from albertine.tokenization.wordpiece import LONGEST_WORD, SPECIAL_TOKENS, WordPieceModel

__all__ = ["learn_vocabulary"]

log = logging.getLogger("albertine")

WORDS_MERGED = 50_000
"""The most frequent words that merges are counted on; rarer ones hardly change the order of merges."""
RAREST_MERGE = 5
"""How often a pair must occur to be joined: an embedding that is hardly ever trained is worth less than its parts."""
TEXTS_AT_ONCE = 1024

Pair = tuple[str, str]


def learn_vocabulary(
    texts: Iterable[str], *, size: int = 8000, lowercase: bool = True, coverage: float = 0.9995
) -> Tokenizer:
    """Learn a WordPiece vocabulary by characters and byte-pair merges; Chinese stays by character.

    Args:
        texts: the training texts, and only those: a vocabulary learnt from test texts leaks them.
        size: the most tokens it may have, special ones included; it has fewer where the texts hold no more.
        lowercase: whether text is lower-cased and stripped of accents first.
        coverage: the share of characters to be covered; the rarest ones beyond it become [UNK].

    Returns:
        The tokenizer, with `[PAD] [UNK] [CLS] [SEP] [MASK]` as ids 0 to 4.

    Raises:
        ConfigError: the size leaves no room for characters, or the coverage is not a share.
        DataError: there is no text to learn from.
    """
    if size < 2 * len(SPECIAL_TOKENS):
        raise ConfigError(
            "a vocabulary of this size cannot hold text", where="size", received=str(size), allowed="10 or more"
        )
    if not 0.0 < coverage <= 1.0:
        raise ConfigError("not a share", where="coverage", received=str(coverage), allowed="above 0, up to 1")
    rules = Rules(lowercase=lowercase, strip_accents=lowercase)
    words = _count_words(texts, rules)
    if not words:
        raise DataError("no text to learn a vocabulary from", next_step="Check the text column and the file")
    symbols = _count_symbols(words)
    total = sum(symbols.values())
    alphabet = _alphabet(symbols, limit=size - len(SPECIAL_TOKENS), target=coverage * total)
    covered = sum(symbols[symbol] for symbol in alphabet)
    merged = _merges(words, set(alphabet), room=size - len(SPECIAL_TOKENS) - len(alphabet))
    log.info(
        "vocabulary of %d tokens: %d characters, which cover %.3f %% of %d, and %d longer pieces",
        len(SPECIAL_TOKENS) + len(alphabet) + len(merged),
        len(alphabet),
        100 * covered / total,
        total,
        len(merged),
    )
    return Tokenizer(WordPieceModel([*SPECIAL_TOKENS, *alphabet, *merged], rules=rules, where="learnt vocabulary"))


def _count_words(texts: Iterable[str], rules: Rules) -> Counter[str]:
    """Count the words of all texts, normalised as the tokenizer will do it."""
    pattern = part_pattern(rules)
    parts: Counter[str] = Counter()
    for lines in _batches(texts):
        parts.update(pattern.findall(lines))
    words: Counter[str] = Counter()
    for part, count in parts.items():
        if part.isspace():
            continue
        part = part.removeprefix(" ")
        if part.isascii() and part.isprintable():
            found = ASCII_WORDS.findall(part.lower() if rules.lowercase else part)
        else:
            found = [word.text for word in basic_words(part, rules)]
        for word in found:
            if len(word) <= LONGEST_WORD:
                words[word] += count
    return words


def _batches(texts: Iterable[str]) -> Iterator[str]:
    """Yield runs of texts joined by line breaks, over which no word reaches."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == TEXTS_AT_ONCE:
            yield "\n".join(batch)
            batch = []
    yield "\n".join(batch)


def _symbols(word: str) -> list[str]:
    """Return the characters of a word as tokens: those inside it start with ##."""
    return [character if index == 0 else f"##{character}" for index, character in enumerate(word)]


def _count_symbols(words: Counter[str]) -> Counter[str]:
    symbols: Counter[str] = Counter()
    for word, count in words.items():
        for symbol in _symbols(word):
            symbols[symbol] += count
    return symbols


def _alphabet(symbols: Counter[str], *, limit: int, target: float) -> list[str]:
    """Return the most frequent characters, as many as reach the target count and fit."""
    chosen: list[str] = []
    covered = 0
    for symbol, count in sorted(symbols.items(), key=lambda entry: (-entry[1], entry[0])):
        if covered >= target or len(chosen) >= limit:
            break
        chosen.append(symbol)
        covered += count
    return chosen


def _merges(words: Counter[str], alphabet: set[str], *, room: int) -> list[str]:
    """Return up to `room` pieces made by joining the most frequent pair again and again; ties by spelling."""
    ranked = sorted(words.items(), key=lambda entry: (-entry[1], entry[0]))
    rows = [(_symbols(word), count) for word, count in ranked if len(word) > 1][:WORDS_MERGED]
    rows = [(symbols, count) for symbols, count in rows if alphabet.issuperset(symbols)]
    spelled = [symbols for symbols, _ in rows]
    counts: defaultdict[Pair, int] = defaultdict(int)
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, (symbols, count) in enumerate(rows):
        for pair in pairwise(symbols):
            counts[pair] += count
            places[pair].add(index)
    queue = [(-count, pair) for pair, count in counts.items()]
    heapq.heapify(queue)
    pieces: dict[str, None] = {}
    while queue and len(pieces) < room:
        negative, pair = heapq.heappop(queue)
        if -negative != counts[pair]:
            continue  # an old entry: the pair has been counted anew since
        if -negative < RAREST_MERGE:
            break
        piece = pair[0] + pair[1].removeprefix("##")
        pieces[piece] = None
        changed: set[Pair] = set()
        for index in places.pop(pair):
            count = rows[index][1]
            for old in pairwise(spelled[index]):
                counts[old] -= count
                changed.add(old)
            spelled[index] = _joined(spelled[index], pair, piece)
            for new in pairwise(spelled[index]):
                counts[new] += count
                places[new].add(index)
                changed.add(new)
        for entry in changed:
            if counts[entry] > 0:
                heapq.heappush(queue, (-counts[entry], entry))
    return list(pieces)


def _joined(symbols: list[str], pair: Pair, piece: str) -> list[str]:
    """Replace every occurrence of the pair, from the left."""
    out: list[str] = []
    index = 0
    while index < len(symbols):
        if index + 1 < len(symbols) and (symbols[index], symbols[index + 1]) == pair:
            out.append(piece)
            index += 2
        else:
            out.append(symbols[index])
            index += 1
    return out
