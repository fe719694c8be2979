"""WordPiece (BERT, and the Chinese ALBERTs): greedy longest match first, cased, uncased and Chinese.

A word is always cut in the same way, so every distinct word is normalised and cut once (by the tokenizers library's
WordPiece) and kept in a table; a batch is then array arithmetic over the characters of the joined texts, which finds
the words and all Chinese characters and signs at once, and one dictionary look-up a word.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as LibraryTokenizer

from albertine.errors import TokenizerError
from albertine.files import atomic_path, write_text
from albertine.records import IntArray
from albertine.tokenization.normalization import CHINESE, Rules, basic_words
from albertine.tokenization.pieces import Kind, Pieces, SpecialIds, chunks, joined, ragged_arange
from albertine.tokenization.words import SIGN, cut_words

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
        self._table = _WordTable()

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased first."""
        return self.rules.lowercase

    def encode(self, texts: Sequence[str], *, offsets: bool) -> Pieces:
        """Cut texts into pieces; offsets are character ranges of the texts as given."""
        parts = [self._encode_chunk(part, offsets=offsets) for part in chunks(texts, CHARACTERS_A_CHUNK)]
        return joined(parts, offsets=offsets)

    def _encode_chunk(self, texts: list[str], *, offsets: bool) -> Pieces:
        if self._table.full:
            self._table = _WordTable()
        table = self._table
        # A line break separates words, so no word reaches over the border of two texts.
        found = cut_words("\n".join(texts), split_chinese=self.rules.split_chinese)
        rows = np.empty(len(found.places), dtype=np.int64)
        single = found.kinds == SIGN
        with table.lock:
            try:
                rows[single] = self._rows_of_signs(found.codes[single], table)
                rows[~single] = self._rows_of_words(found.words, table)
                if new := table.index.take_new():
                    table.add(new, *_stacked([self._cut(word) for word in new]))
            except BaseException:  # an interruption: words may have rows without pieces
                self._table = _WordTable()
                raise
        words = table.words[rows]
        counts = words[:, 1]
        pieces = ragged_arange(words[:, 0], counts)
        borders = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)) + 1, out=borders[1:])
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        starts = ends[np.searchsorted(found.places, borders)]
        spans = None
        if offsets:
            shift = np.repeat(found.places, counts) - np.repeat(borders[:-1], np.diff(starts))
            spans = table.spans[pieces] + shift[:, None].astype(np.int32)
        return Pieces(ids=table.ids[pieces], starts=starts, offsets=spans)

    def _rows_of_signs(self, codes: IntArray, table: _WordTable) -> IntArray:
        """Return the rows of words of one character, by their code points."""
        rows = table.signs[codes]
        if len(rows) and rows.min() < 0:
            for code in np.unique(codes[rows < 0]).tolist():
                table.signs[code] = table.index[chr(code)]
            rows = table.signs[codes]
        return rows

    def _rows_of_words(self, words: list[str], table: _WordTable) -> IntArray:
        """Return the rows of words."""
        return np.fromiter(map(table.index.__getitem__, words), dtype=np.int64, count=len(words))

    def _cut(self, word: str) -> list[Piece]:
        """Cut a word, or a single sign, as it stands in a text; begin and end count its characters."""
        if word.isascii() and word.isalnum():
            return self._pieces(word.lower() if self.rules.lowercase else word)
        return [
            (token, normalised.begins[begin], normalised.ends[end - 1])
            for normalised in basic_words(word, self.rules)
            for token, begin, end in self._pieces(normalised.text)
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


class _Index(dict[str, int]):
    """The row of every word; one that is asked for the first time gets the next row and is remembered as new.

    So a list of words is looked up in one pass, whether all of them are known or not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._new: list[str] = []

    def __missing__(self, word: str) -> int:
        self._new.append(word)
        row = self[word] = len(self)
        return row

    def take_new(self) -> list[str]:
        """Return the words met for the first time since the last call, in the order of their rows."""
        new, self._new = self._new, []
        return new


class _WordTable:
    """The words met so far, each with its pieces; rows are only ever added."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        """Held from the giving of rows until their pieces are in place."""
        self.index = _Index()
        self.signs: IntArray = np.full(sys.maxunicode + 1, -1, dtype=np.int32)
        """The row of every sign and Chinese character, by its code point; -1 for those not met yet."""
        self.words: IntArray = np.zeros((1024, 2), dtype=np.int64)
        """Of every word: the row of its first piece, the number of pieces."""
        self.ids: IntArray = np.zeros(1024, dtype=np.int32)
        """Of every piece."""
        self.spans: IntArray = np.zeros((1024, 2), dtype=np.int32)
        """Of every piece: begin and end within the word."""
        self._characters = self._piece_count = self._word_count = 0

    @property
    def full(self) -> bool:
        """Whether it has grown so large that a fresh one is better."""
        return self._word_count > WORDS_KEPT or self._characters > CHARACTERS_KEPT

    def add(self, words: list[str], counts: IntArray, pieces: IntArray) -> None:
        """Add the words of the next rows with their pieces.

        Args:
            words: W different words.
            counts: [W] how many pieces each has.
            pieces: [S, 3] those of all words, one after another: id, begin and end.
        """
        first = self._piece_count + np.cumsum(counts) - counts
        self.words = _with_rows(self.words, self._word_count, np.stack([first, counts], axis=1))
        self.ids = _with_rows(self.ids, self._piece_count, pieces[:, 0])
        self.spans = _with_rows(self.spans, self._piece_count, pieces[:, 1:])
        self._piece_count += len(pieces)
        self._word_count += len(words)
        self._characters += sum(map(len, words))


def _stacked(rows: list[list[Piece]]) -> tuple[IntArray, IntArray]:
    """Return how many pieces each word has, and all of them as [S, 3]."""
    counts = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    flat = np.array(list(chain.from_iterable(rows)), dtype=np.int32)
    return counts, flat.reshape(-1, 3)


def _with_rows(table: IntArray, used: int, rows: IntArray) -> IntArray:
    """Return the table with rows written after the first `used`; doubled in size when they do not fit."""
    end = used + len(rows)
    if end > len(table):
        larger = np.zeros((max(end, 2 * len(table)), *table.shape[1:]), dtype=table.dtype)
        larger[:used] = table[:used]
        table = larger
    table[used:end] = rows
    return table
