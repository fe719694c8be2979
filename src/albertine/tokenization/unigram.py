"""Unigram (the English ALBERT): SentencePiece with Google's preparation of the text and its digit-comma rule.

SentencePiece adds up probabilities in single precision from the start of a text, so that ties between equally probable
cuts ("!" + "!!!" or "!!!" + "!") fall one way or the other with what stands before. Whole texts are therefore given
to the library, not words; only what comes after it is done here, in arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as LibraryTokenizer

from albertine.errors import TokenizerError
from albertine.files import atomic_path
from albertine.records import IntArray
from albertine.tokenization.albert_text import Aligner, TextRules, prepared
from albertine.tokenization.pieces import Kind, Pieces, SpecialIds, chunks, joined, ragged_arange
from albertine.tokenization.sentencepiece_model import PieceType, SentencePieceFile, read_model

__all__ = ["BLANK", "SPECIAL_NAMES", "UnigramModel"]

BLANK = "▁"
CHARACTERS_A_CHUNK = 1 << 20
SPECIAL_NAMES = {
    "pad": ("<pad>", "[PAD]"),
    "unk": ("<unk>", "[UNK]"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]",),
}
"""What the special tokens may be called in a vocabulary, by field of `SpecialIds`."""


class UnigramModel:
    """A SentencePiece unigram model with ALBERT's rules.

    Args:
        data: the bytes of `spiece.model`.
        rules: what is done to a text first.
        where: the file, for messages.

    Raises:
        TokenizerError: another kind of SentencePiece model, or one without ALBERT's special tokens.
    """

    kind: Kind = "unigram"

    def __init__(self, data: bytes, *, rules: TextRules, where: str = "spiece.model") -> None:
        self._data = data
        self._file = read_model(data, where=where)
        _check(self._file, where)
        self.rules = rules
        self.tokens = self._file.pieces
        ids = {piece: index for index, piece in enumerate(self.tokens)}
        self.special = _special_ids(ids, where)
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(data)
        except (RuntimeError, ValueError) as error:
            raise TokenizerError("SentencePiece cannot load this model", where=where, received=str(error)) from error
        self._lengths = np.array([len(piece) for piece in self.tokens], dtype=np.int64)
        self._opens = np.array([piece.startswith(BLANK) for piece in self.tokens], dtype=bool)
        self._aligner = Aligner(rules)
        self._after_comma = self._comma_table()

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased first."""
        return self.rules.lowercase

    def encode(self, texts: Sequence[str], *, offsets: bool) -> Pieces:
        """Cut texts into pieces; offsets are character ranges of the texts as given.

        A piece's range leaves out the blank before its word; where a piece is nothing but that blank, its range is the
        first character of the word.
        """
        parts = [self._encode_chunk(part, offsets=offsets) for part in chunks(texts, CHARACTERS_A_CHUNK)]
        return joined(parts, offsets=offsets)

    def _encode_chunk(self, texts: list[str], *, offsets: bool) -> Pieces:
        ready = [prepared(text, self.rules) for text in texts]
        found: list[list[int]] = self._processor.encode(ready, out_type=int)
        sizes = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
        raw = np.fromiter(chain.from_iterable(found), dtype=np.int32, count=int(sizes.sum()))
        counts = self._after_comma.counts[raw]
        borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        starts = borders[np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])]
        ids = self._after_comma.ids[ragged_arange(self._after_comma.first[raw], counts)]
        if not offsets:
            return Pieces(ids=ids, starts=starts, offsets=None)
        lengths = self._lengths[ids]
        normal = ["".join(map(self.tokens.__getitem__, row)) for row in found]
        is_unknown = ids == self.special.unk
        if is_unknown.any():
            # An unknown piece may be of any length: the library is asked for the surface of every piece.
            some = np.unique(np.searchsorted(starts, np.flatnonzero(is_unknown), side="right") - 1).tolist()
            surfaces: list[list[str]] = self._processor.encode([ready[index] for index in some], out_type=str)
            sizes_unknown: list[int] = []
            for index, surface in zip(some, surfaces, strict=True):
                normal[index] = "".join(surface)
                sizes_unknown += self._unknown_lengths(surface, found[index])
            lengths[is_unknown] = sizes_unknown
        begins, ends, text_starts = self._places(texts, ready, normal)
        first = np.cumsum(lengths) - lengths
        text_last = np.repeat(text_starts[1:] - 1, np.diff(starts))
        last = first + lengths - 1
        first = np.minimum(first + self._opens[ids], text_last)
        spans = np.stack([begins[first], ends[np.maximum(last, first)]], axis=1)
        return Pieces(ids=ids, starts=starts, offsets=spans.astype(np.int32))

    def _unknown_lengths(self, surface: list[str], ids: list[int]) -> list[int]:
        """Count the characters of every unknown piece, in order; those of the comma rule are single pieces again."""
        unknown = self.special.unk
        table = self._after_comma
        if not table.unknown:
            return [len(piece) for piece, index in zip(surface, ids, strict=True) if index == unknown]
        lengths = []
        for piece, index in zip(surface, ids, strict=True):
            if index == unknown:
                lengths.append(len(piece))
            else:
                row = table.ids[table.first[index] : table.first[index] + table.counts[index]]
                lengths += [1] * int(np.count_nonzero(row == unknown))
        return lengths

    def _places(self, texts: list[str], ready: list[str], normal: list[str]) -> tuple[IntArray, IntArray, IntArray]:
        """Return where the source of every character that SentencePiece saw begins and ends in its text.

        Args:
            texts: as given.
            ready: as prepared.
            normal: as SentencePiece normalised them, blanks written as ▁.

        Returns:
            Begins and ends for the characters of all normalised texts, flat, and where each text starts among them.
        """
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in normal], out=starts[1:])
        # As if every text were the same before and after, but for the ▁ before its first word.
        ends = np.arange(starts[-1], dtype=np.int64) - np.repeat(starts[:-1], np.diff(starts))
        begins = np.maximum(ends - 1, 0)
        for index, (text, middle, result) in enumerate(zip(texts, ready, normal, strict=True)):
            part = slice(int(starts[index]), int(starts[index + 1]))
            same = result == BLANK + middle.replace(" ", BLANK)
            if not result or (same and len(middle) == len(text) and text.isascii()):
                continue
            sources, limits = self._aligner.align(text, middle)
            if same:
                begins[part.start + 1 : part.stop], ends[part.start + 1 : part.stop] = sources, limits
            else:
                first, last = self._normalised_places(middle, result)
                begins[part], ends[part] = sources[first], limits[last]
        return begins, ends, starts

    def _normalised_places(self, middle: str, result: str) -> tuple[IntArray, IntArray]:
        """Return the first and the last character of `middle` that each of SentencePiece's characters comes from."""
        _, raw = self._processor.normalize(middle, with_offsets=True)
        sources = np.array(raw, dtype=np.int64)[: len(result) + 1]
        # Several characters from one source share its begin, and end where the next source begins.
        changed = np.flatnonzero(np.diff(sources))
        following = np.searchsorted(changed, np.arange(len(result)))
        limits = np.append(sources[changed + 1], len(middle))[following]
        return np.minimum(sources[:-1], len(middle) - 1), limits - 1

    def _comma_table(self) -> _Split:
        """Work out for every piece what Google's code makes of it: one that ends in a digit and a comma is cut anew."""
        comma = self._processor.piece_to_id(",")
        rows: list[list[int]] = [[index] for index in range(len(self.tokens))]
        for index, piece in enumerate(self.tokens):
            if len(piece) < 2 or piece[-1] != "," or not piece[-2].isdigit():
                continue
            parts: list[str] = self._processor.encode(piece[:-1].replace(BLANK, ""), out_type=str)
            if parts and not piece.startswith(BLANK) and parts[0].startswith(BLANK):
                parts = [parts[0][1:], *parts[1:]] if len(parts[0]) > 1 else parts[1:]
            rows[index] = [*(self._processor.piece_to_id(part) for part in parts), comma]
        counts = np.array([len(row) for row in rows], dtype=np.int64)
        return _Split(
            first=np.cumsum(counts) - counts,
            counts=counts,
            ids=np.array(list(chain.from_iterable(rows)), dtype=np.int32),
            unknown=any(self.special.unk in row for row in rows if len(row) > 1),
        )

    def detokenize(self, ids: Sequence[int]) -> str:
        """Put pieces together to text."""
        text: str = self._processor.decode([int(index) for index in ids])
        return text

    def settings(self) -> dict[str, object]:
        """Return what `tokenizer_config.json` has to say of the rules."""
        return {
            "tokenizer_class": "AlbertTokenizer",
            "do_lower_case": self.rules.lowercase,
            "keep_accents": self.rules.keep_accents,
            "remove_space": True,
        }

    def write(self, folder: Path) -> None:
        """Write `spiece.model` and `tokenizer.json`."""
        with atomic_path(folder / "spiece.model") as temporary:
            temporary.write_bytes(self._data)
        scored = list(zip(self._file.pieces, self._file.scores, strict=True))
        library = LibraryTokenizer(models.Unigram(scored, unk_id=self.special.unk, byte_fallback=False))
        steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        if not self.rules.keep_accents:
            steps += [normalizers.NFKD(), normalizers.StripAccents()]
        if self.rules.lowercase:
            steps.append(normalizers.Lowercase())
        if self._file.charsmap:
            steps.append(normalizers.Precompiled(self._file.charsmap))
        library.normalizer = normalizers.Sequence(steps)
        library.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme="always")]
        )
        library.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme="always")
        special = self.special
        names = [self.tokens[index] for index in (special.pad, special.unk, special.cls, special.sep, special.mask)]
        library.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
        library.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", special.cls), ("[SEP]", special.sep)],
        )
        with atomic_path(folder / "tokenizer.json") as temporary:
            library.save(str(temporary))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Split:
    """What becomes of every piece: `ids[first[i] : first[i] + counts[i]]`."""

    first: IntArray
    counts: IntArray
    ids: IntArray
    unknown: bool
    """Whether a piece turns into several of which one is unknown."""


def _check(file: SentencePieceFile, where: str) -> None:
    """Refuse the SentencePiece models that are not of ALBERT's kind."""
    if file.model_type != "unigram":
        raise TokenizerError(
            "not a unigram model", where=where, received=file.model_type, allowed="a SentencePiece unigram model"
        )
    reasons = []
    if not file.usual_blanks:
        reasons.append("it does not write blanks before words as ▁")
    if PieceType.BYTE in file.types:
        reasons.append("it falls back to bytes")
    if any(BLANK in piece[1:] for piece in file.pieces):
        reasons.append("it has pieces with blanks inside")
    if reasons:
        raise TokenizerError(
            f"not a SentencePiece model of ALBERT's kind: {', and '.join(reasons)}",
            where=where,
            next_step="Give the spiece.model of an ALBERT",
        )


def _special_ids(ids: dict[str, int], where: str) -> SpecialIds:
    found: dict[str, int] = {}
    for field, names in SPECIAL_NAMES.items():
        present = [name for name in names if name in ids]
        if not present:
            raise TokenizerError(
                f"not an ALBERT vocabulary: it lacks {' or '.join(names)}",
                where=where,
                next_step="Give the spiece.model of an ALBERT",
            )
        found[field] = ids[present[0]]
    return SpecialIds(**found)
