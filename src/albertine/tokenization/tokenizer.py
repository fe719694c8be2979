"""The tokenizer of a model: texts and pairs of texts to ids, token types and character offsets, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from albertine.errors import ConfigError, DataError, TokenizerError
from albertine.files import write_json
from albertine.records import Batch, IntArray, Tokens
from albertine.shipped import shipped_folder
from albertine.tokenization.detect import read_max_length, read_tokenizer
from albertine.tokenization.pieces import Kind, Model, Pieces, ragged_arange

if TYPE_CHECKING:
    import torch

__all__ = ["Tokenizer", "load_tokenizer", "padded"]


class Tokenizer:
    """Cuts texts into the ids that a model reads: `[CLS] text [SEP]`, or `[CLS] first [SEP] second [SEP]`.

    Names of special tokens in a text are text: "[SEP]" is cut into its pieces. A tokenizer may be used from several
    threads at once.

    Args:
        model: the vocabulary and its rules, `WordPieceModel` or `UnigramModel`.
        max_length: the tokens that its model takes at most, where its files say so; kept for saving, nothing is cut.
    """

    def __init__(self, model: Model, *, max_length: int | None = None) -> None:
        self.model = model
        self.max_length = max_length
        self.pad_id = model.special.pad
        self.unk_id = model.special.unk
        self.cls_id = model.special.cls
        self.sep_id = model.special.sep
        self.mask_id = model.special.mask
        # Where a vocabulary has a line twice, the later one counts, as in Google's code.
        self._ids = {token: index for index, token in enumerate(model.tokens)}

    @property
    def kind(self) -> Kind:
        """Which rules cut the text: "wordpiece" or "unigram"."""
        return self.model.kind

    @property
    def vocab_size(self) -> int:
        """The number of tokens in the vocabulary, special ones included."""
        return len(self.model.tokens)

    @property
    def lowercase(self) -> bool:
        """Whether text is lower-cased."""
        return self.model.lowercase

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of the five special tokens."""
        return frozenset((self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id))

    def token_to_id(self, token: str) -> int | None:
        """Return the id of a token as written in the vocabulary, None where there is no such token."""
        return self._ids.get(token)

    def id_to_token(self, index: int) -> str:
        """Return the token of an id.

        Raises:
            ConfigError: the vocabulary has no such id.
        """
        if not 0 <= index < self.vocab_size:
            raise ConfigError("no such token id", received=str(index), allowed=f"0 to {self.vocab_size - 1}")
        return self.model.tokens[index]

    def tokenize(
        self,
        texts: Sequence[str],
        pairs: Sequence[str | None] | None = None,
        *,
        max_length: int | None = None,
        special_tokens: bool = True,
        offsets: bool = True,
    ) -> Tokens:
        """Cut texts, or pairs of texts, into tokens.

        Args:
            texts: N texts, the first ones of pairs.
            pairs: N second texts, None for a text that has none.
            max_length: the most tokens of one input, special ones included; longer ones lose tokens from the end, a
                pair from its longer text, and are listed in `truncated`. None never cuts.
            special_tokens: whether to add [CLS] and [SEP].
            offsets: whether character offsets are wanted; without them it is faster.

        Returns:
            The tokens of all texts, flat.

        Raises:
            DataError: a text is not a string, or the number of pairs differs.
            ConfigError: `max_length` leaves no room for a token.
        """
        texts = _checked(texts, "text")
        second = None
        has_second = np.zeros(len(texts), dtype=bool)
        if pairs is not None:
            if len(pairs) != len(texts):
                raise DataError("texts and second texts differ in number", received=f"{len(texts)} and {len(pairs)}")
            has_second = np.array([text is not None for text in pairs], dtype=bool)
            second = self.model.encode(
                _checked(["" if t is None else t for t in pairs], "second text"), offsets=offsets
            )
        first = self.model.encode(texts, offsets=offsets)
        frame = np.where(has_second, 3, 2) * int(special_tokens)
        kept = _kept_lengths(
            np.diff(first.starts), None if second is None else np.diff(second.starts), frame, max_length
        )
        return self._assembled(first, second, has_second, kept, special_tokens=special_tokens)

    def __call__(self, texts: str | Sequence[str | tuple[str, str]], *, max_length: int | None = None) -> Batch:
        """Return a padded batch on the CPU; nothing is ever cut unless `max_length` says so.

        Args:
            texts: one text, or texts and pairs of texts.
            max_length: as in `tokenize`.
        """
        entries = [texts] if isinstance(texts, str) else list(texts)
        wrong = next((entry for entry in entries if isinstance(entry, tuple) and len(entry) != 2), None)
        if wrong is not None:
            raise DataError("a pair does not hold two texts", received=repr(wrong), allowed="(first, second)")
        first = [entry[0] if isinstance(entry, tuple) else entry for entry in entries]
        second = [entry[1] if isinstance(entry, tuple) else None for entry in entries]
        tokens = self.tokenize(first, second, max_length=max_length, offsets=False)
        return padded(tokens, self.pad_id)

    def decode(self, ids: Sequence[int] | IntArray) -> str:
        """Put tokens together to a text, special ones left out but for [UNK]; case and spaces may be lost.

        Raises:
            ConfigError: the vocabulary has no such id.
        """
        hidden = self.special_ids - {self.unk_id}
        shown = [int(index) for index in ids if int(index) not in hidden]
        for index in shown:
            self.id_to_token(index)
        return self.model.detokenize(shown)

    def save(self, folder: Path | str, *, max_length: int | None = None) -> None:
        """Write `tokenizer.json`, `vocab.txt` or `spiece.model`, and `tokenizer_config.json` into a folder.

        Args:
            folder: made where it does not exist.
            max_length: the positions of the model beside which it is saved. The smaller of it and of what the
                tokenizer's own files said is what other libraries cut texts to; where neither is known, to nothing.

        Raises:
            FailureError: the disk is full or the folder cannot be written to.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.model.write(folder)
        names = {
            name: self.model.tokens[getattr(self.model.special, name)] for name in ("pad", "unk", "cls", "sep", "mask")
        }
        special: dict[str, object] = {f"{name}_token": token for name, token in names.items()}
        known = [length for length in (self.max_length, max_length) if length is not None]
        limit: dict[str, object] = {"model_max_length": min(known)} if known else {}
        write_json(folder / "tokenizer_config.json", {**self.model.settings(), **special, **limit})

    def _assembled(
        self,
        first: Pieces,
        second: Pieces | None,
        has_second: IntArray,
        kept: tuple[IntArray, IntArray],
        *,
        special_tokens: bool,
    ) -> Tokens:
        """Set [CLS], the pieces of the first text, [SEP], those of the second, [SEP] in a row, for every text."""
        extra = 1 if special_tokens else 0
        left, right = kept
        tails = has_second.astype(np.int64) * extra
        starts = np.zeros(len(left) + 1, dtype=np.int64)
        np.cumsum(left + right + tails + 2 * extra, out=starts[1:])
        total = int(starts[-1])
        ids = np.full(total, self.sep_id, dtype=np.int32)
        spans = None if first.offsets is None else np.zeros((total, 2), dtype=np.int32)
        types = np.zeros(total, dtype=np.uint8)
        if special_tokens:
            ids[starts[:-1]] = self.cls_id
        target = ragged_arange(starts[:-1] + extra, left)
        source = ragged_arange(first.starts[:-1], left)
        ids[target] = first.ids[source]
        if spans is not None and first.offsets is not None:
            spans[target] = first.offsets[source]
        cut = np.diff(first.starts) > left
        if second is not None:
            begin = starts[:-1] + left + 2 * extra
            types[ragged_arange(begin, right + tails)] = 1
            target = ragged_arange(begin, right)
            source = ragged_arange(second.starts[:-1], right)
            ids[target] = second.ids[source]
            if spans is not None and second.offsets is not None:
                spans[target] = second.offsets[source]
            cut |= np.diff(second.starts) > right
        return Tokens(ids=ids, token_type_ids=types, starts=starts, offsets=spans, truncated=np.flatnonzero(cut))


def padded(tokens: Tokens, pad_id: int) -> Batch:
    """Lay tokens out as rows of the longest one's length, on the CPU.

    Args:
        tokens: N texts.
        pad_id: the id that fills the rest of a row.

    Returns:
        A batch of [N, T] int64 tensors with its attention mask.
    """
    import torch  # lazy: heavy

    lengths = tokens.lengths
    longest = int(lengths.max()) if len(lengths) else 0
    mask = np.arange(longest) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    types = np.zeros(mask.shape, dtype=np.int64)
    ids[mask] = tokens.ids
    types[mask] = tokens.token_type_ids

    def tensor(values: IntArray) -> torch.Tensor:
        return torch.from_numpy(values)

    return Batch(input_ids=tensor(ids), token_type_ids=tensor(types), attention_mask=tensor(mask.astype(np.int64)))


def load_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer of a model folder, or a single vocabulary file, of the kind that its files show.

    Args:
        path: a folder with `tokenizer.json`, `vocab.txt` or `spiece.model`, such a file, or the name of an encoder that
            ships with the package.

    Raises:
        TokenizerError: no such files, or files that contradict each other or are of another kind; the message says why.
    """
    place = shipped_folder(path) or Path(path)
    if not place.exists():
        raise TokenizerError("there is no such file or folder", where=str(path))
    return Tokenizer(read_tokenizer(place), max_length=read_max_length(place))


def _kept_lengths(
    first: IntArray, second: IntArray | None, frame: IntArray, max_length: int | None
) -> tuple[IntArray, IntArray]:
    """Return how many pieces stay of the first and of the second texts.

    Pieces are taken one by one from the end of the longer text, of the second where they are equally long (Google's
    `_truncate_seq_pair`): the shorter one stays whole as long as it is within its half.
    """
    other = np.zeros_like(first) if second is None else second
    if max_length is None:
        return first, other
    least = int(frame.max()) + 1 if len(frame) else 1
    if max_length < least:
        raise ConfigError(
            "the maximum length leaves no room for text", received=str(max_length), allowed=f"{least} or more"
        )
    room = max_length - frame
    left = np.minimum(first, np.maximum(room - other, (room + 1) // 2))
    return left, np.minimum(other, room - left)


def _checked(texts: Sequence[str], what: str) -> Sequence[str]:
    """Return the texts, all of which are strings."""
    if isinstance(texts, str):
        raise DataError(f"a list of {what}s was expected", received="one string", next_step="Put it into a list")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"a {what} is not a string", where=f"{what} {index}", received=repr(text))
    return texts
