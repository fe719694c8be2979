"""WordPiece (BERT, and the Chinese ALBERTs): greedy longest match first, cased, uncased and Chinese.

A word is always cut in the same way, so every distinct word is normalised and cut once (by the tokenizers library's
WordPiece) and kept in a table; a batch is then one regular expression over the joined texts, one dictionary look-up a
word, and array arithmetic.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as LibraryTokenizer

from albertine.errors import TokenizerError
from albertine.files import atomic_path, write_text
from albertine.records import IntArray
from albertine.tokenization.normalization import ASCII_WORDS, CHINESE, Rules, basic_words, part_pattern
from albertine.tokenization.pieces import Kind, Pieces, SpecialIds, chunks, joined, ragged_arange

__all__ = ["LONGEST_WORD", "SPECIAL_TOKENS", "WordPieceModel"]

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100
"""As in transformers; Google's code has 200."""
CHARACTERS_A_CHUNK = 1 << 20
WORDS_KEPT = 1 << 18
CHARACTERS_KEPT = 1 << 24

Piece = tuple[int, int, int]
"""A row of the table: id, begin and end."""


class WordPieceModel:
    """A WordPiece vocabulary with BERT's rules.

    Args:
        tokens: every token, by id; pieces inside a word start with `##`.
        rules: what is done to a word before it is cut.
        longest_word: words of more characters than this become one [UNK].
        where: the file, for messages.

    Raises:
        TokenizerError: a special token is missing.
    """

    kind: Kind = "wordpiece"

    def __init__(
        self, tokens: Sequence[str], *, rules: Rules, longest_word: int = LONGEST_WORD, where: str = "vocabulary"
    ) -> None:
        self.tokens = tuple(tokens)
        self.rules = rules
        self.longest_word = longest_word
        ids = {token: index for index, token in enumerate(self.tokens)}
        missing = [token for token in SPECIAL_TOKENS if token not in ids]
        if missing:
            raise TokenizerError(
                f"not a WordPiece vocabulary: it lacks {', '.join(missing)}",
                where=where,
                received=f"{len(self.tokens)} lines, the first of them {list(self.tokens[:3])}",
                next_step="Give the vocab.txt that belongs to the model",
            )
        pad, unk, cls, sep, mask = (ids[token] for token in SPECIAL_TOKENS)
        self.special = SpecialIds(pad=pad, unk=unk, cls=cls, sep=sep, mask=mask)
        self._model = models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=longest_word)
        self._parts = part_pattern(rules)
        self._tables = _Tables()

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased first."""
        return self.rules.lowercase

    def encode(self, texts: Sequence[str], *, offsets: bool) -> Pieces:
        """Cut texts into pieces; offsets are character ranges of the texts as given."""
        parts = [self._encode_chunk(part, offsets=offsets) for part in chunks(texts, CHARACTERS_A_CHUNK)]
        return joined(parts, offsets=offsets)

    def _encode_chunk(self, texts: list[str], *, offsets: bool) -> Pieces:
        if self._tables.full:
            self._tables = _Tables()
        tables = self._tables
        # A line break separates words, so no word reaches over the border of two texts.
        parts = self._parts.findall("\n".join(texts))
        words = _looked_up(parts, tables.parts, lambda new: self._cut_parts(new, tables))
        pieces, starts = _laid_out(words, tables.parts, texts, offsets=offsets)
        return Pieces(
            ids=np.ascontiguousarray(pieces[:, 0]), starts=starts, offsets=pieces[:, 1:].copy() if offsets else None
        )

    def _cut_parts(self, parts: list[str], tables: _Tables) -> None:
        """Cut parts of texts, white space or a word with at most one blank before it, and add them to the table."""
        # Characters of plain ASCII keep their places, so that these parts can be looked up all at once in turn.
        plain = [part for part in parts if part.isascii() and part.isprintable()]
        texts = [part.lower() for part in plain] if self.rules.lowercase else plain
        words = _looked_up(
            ASCII_WORDS.findall("\n".join(texts)), tables.words, lambda new: self._cut_words(new, tables)
        )
        pieces, starts = _laid_out(words, tables.words, texts, offsets=True)
        tables.parts.add(plain, np.diff(starts), pieces)
        others = [part for part in parts if not (part.isascii() and part.isprintable())]
        rows = [self._cut_unusual(part) for part in others]
        tables.parts.add(others, *_stacked(rows))

    def _cut_words(self, words: list[str], tables: _Tables) -> None:
        """Cut words that hold nothing but letters and digits, or single signs, and add them to the table."""
        tables.words.add(words, *_stacked([[] if word in (" ", "\n") else self._pieces(word) for word in words]))

    def _cut_unusual(self, part: str) -> list[Piece]:
        """Cut a part with other than plain ASCII characters."""
        if part.isspace():
            return []
        blank = 1 if part[0] == " " else 0
        return [
            (token, blank + word.begins[begin], blank + word.ends[end - 1])
            for word in basic_words(part[blank:], self.rules)
            for token, begin, end in self._pieces(word.text)
        ]

    def _pieces(self, word: str) -> list[Piece]:
        """Cut a normalised word; begin and end count its characters."""
        found = self._model.tokenize(word)
        if len(found) == 1:
            return [(found[0].id, 0, len(word))]
        rows = []
        end = 0
        for piece in found:
            begin, end = end, end + len(piece.value) - (2 if end else 0)
            rows.append((piece.id, begin, end))
        return rows

    def detokenize(self, ids: Sequence[int]) -> str:
        """Join pieces to words and words by blanks; Chinese characters stand without blanks between them."""
        text = " ".join(self.tokens[index] for index in ids).replace(" ##", "")
        return re.sub(f"(?<=[{CHINESE}]) (?=[{CHINESE}])", "", text)

    def settings(self) -> dict[str, object]:
        """Return what `tokenizer_config.json` has to say of the rules."""
        return {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.rules.lowercase,
            "strip_accents": self.rules.strip_accents,
            "tokenize_chinese_chars": self.rules.split_chinese,
            "max_input_chars_per_word": self.longest_word,
        }

    def write(self, folder: Path) -> None:
        """Write `vocab.txt` and `tokenizer.json`."""
        write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in self.tokens))
        library = LibraryTokenizer(self._model)
        library.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.rules.split_chinese,
            strip_accents=self.rules.strip_accents,
            lowercase=self.rules.lowercase,
        )
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.WordPiece(prefix="##")
        library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
        library.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", self.special.cls), ("[SEP]", self.special.sep)],
        )
        with atomic_path(folder / "tokenizer.json") as temporary:
            library.save(str(temporary))


class _WordTable:
    """The words met so far, each with its pieces.

    Rows are only ever added, and a word enters the index after its rows are in place, so that readers need no lock.
    """

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.words: IntArray = np.zeros((1024, 3), dtype=np.int64)
        """Of every word: the row of its first piece, the number of pieces, its characters."""
        self.pieces: IntArray = np.zeros((1024, 3), dtype=np.int32)
        """Of every piece: id, begin and end within the word."""
        self.characters = 0
        """Of all words together."""
        self._piece_count = 0
        self._word_count = 0
        self._lock = threading.Lock()

    def add(self, words: list[str], counts: IntArray, pieces: IntArray) -> None:
        """Add words with their pieces; another thread may have added the same ones, which does no harm.

        Args:
            words: W different words.
            counts: [W] how many pieces each has.
            pieces: [S, 3] those of all words, one after another: id, begin and end.
        """
        lengths = np.fromiter(map(len, words), dtype=np.int64, count=len(words))
        with self._lock:
            # A word that is added twice has its rows twice, equal ones.
            first = self._piece_count + np.cumsum(counts) - counts
            count = self._word_count
            self.words = _with_rows(self.words, count, np.stack([first, counts, lengths], axis=1))
            self.pieces = _with_rows(self.pieces, self._piece_count, pieces)
            self._piece_count += len(pieces)
            self._word_count += len(words)
            self.characters += int(lengths.sum())
            self.index.update(zip(words, range(count, count + len(words)), strict=True))


class _Tables:
    """What a model remembers: parts of texts, and the plain words that these consist of."""

    def __init__(self) -> None:
        self.parts = _WordTable()
        self.words = _WordTable()

    @property
    def full(self) -> bool:
        """Whether they have grown so large that fresh ones are better."""
        return len(self.parts.index) > WORDS_KEPT or self.parts.characters > CHARACTERS_KEPT


def _looked_up(parts: list[str], table: _WordTable, cut: Callable[[list[str]], None]) -> IntArray:
    """Return the row of every part in the table; `cut` adds those that are not there yet."""
    index = table.index
    found = list(map(index.get, parts))
    if None in found:
        cut(list(dict.fromkeys(part for part, row in zip(parts, found, strict=True) if row is None)))
        return np.fromiter(map(index.__getitem__, parts), dtype=np.int64, count=len(parts))
    return np.array(found, dtype=np.int64)


def _laid_out(words: IntArray, table: _WordTable, texts: list[str], *, offsets: bool) -> tuple[IntArray, IntArray]:
    """Lay the pieces of words out, the words being all the parts of the texts joined by line breaks.

    Returns:
        [S, 3] id, begin and end within its text (within its word, where offsets are not wanted), and [N+1] where each
        text starts among them.
    """
    rows = table.words[words]
    counts = rows[:, 1]
    positions = np.cumsum(rows[:, 2]) - rows[:, 2]
    pieces = table.pieces[ragged_arange(rows[:, 0], counts)]
    borders = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1, out=borders[1:])
    token_ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    starts = token_ends[np.searchsorted(positions, borders)]
    if offsets:
        shift = np.repeat(positions, counts) - np.repeat(borders[:-1], np.diff(starts))
        pieces[:, 1:] += shift[:, None].astype(np.int32)
    return pieces, starts


def _stacked(rows: list[list[Piece]]) -> tuple[IntArray, IntArray]:
    """Return how many pieces each word has, and all of them as [S, 3]."""
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = np.array(list(chain.from_iterable(rows)), dtype=np.int32)
    return counts, flat.reshape(-1, 3)


def _with_rows(table: IntArray, used: int, rows: IntArray) -> IntArray:
    """Return the table with rows written after the first `used`; doubled in size when they do not fit."""
    end = used + len(rows)
    if end > len(table):
        larger = np.zeros((max(end, 2 * len(table)), 3), dtype=table.dtype)
        larger[:used] = table[:used]
        table = larger
    table[used:end] = rows
    return table
