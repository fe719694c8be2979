"""Two vocabularies of one model: that of the texts it reads, and that of the texts it writes."""

from __future__ import annotations

from pathlib import Path

from albertine.tokenization.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "SOURCE_FOLDER",
    "TARGET_FOLDER",
    "TokenizerPair",
    "is_pair_folder",
    "load_any_tokenizer",
    "load_tokenizer_pair",
    "target_tokenizer",
]

SOURCE_FOLDER, TARGET_FOLDER = "source", "target"
"""Where the two stand in a model folder."""


class TokenizerPair(Tokenizer):
    """The tokenizer of what a model reads, which knows that of what it writes.

    Args:
        source: of the texts that are read; the pair itself cuts texts as it does.
        target: of the texts that are written.
    """

    def __init__(self, source: Tokenizer, target: Tokenizer) -> None:
        super().__init__(source.model, max_length=source.max_length)
        self.target = target

    def save(self, folder: Path | str, *, max_length: int | None = None) -> None:
        """Write each into a folder of its own; the arguments are those of `Tokenizer.save`.

        Raises:
            FailureError: the disk is full or the folder cannot be written to.
        """
        super().save(Path(folder) / SOURCE_FOLDER, max_length=max_length)
        self.target.save(Path(folder) / TARGET_FOLDER)


def target_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer of what is written: a pair's second one, or the tokenizer itself, which then serves both."""
    return tokenizer.target if isinstance(tokenizer, TokenizerPair) else tokenizer


def is_pair_folder(folder: Path) -> bool:
    """Say whether a model folder holds two vocabularies."""
    return (folder / SOURCE_FOLDER).is_dir() and (folder / TARGET_FOLDER).is_dir()


def load_tokenizer_pair(folder: Path | str) -> TokenizerPair:
    """Load what `TokenizerPair.save` wrote.

    Raises:
        TokenizerError: one of the two folders holds no tokenizer.
    """
    return TokenizerPair(load_tokenizer(Path(folder) / SOURCE_FOLDER), load_tokenizer(Path(folder) / TARGET_FOLDER))


def load_any_tokenizer(path: Path | str) -> Tokenizer:
    """Load the tokenizer of a folder or a file, a pair where the folder holds two.

    Raises:
        TokenizerError: as `load_tokenizer`.
    """
    return load_tokenizer_pair(path) if is_pair_folder(Path(path)) else load_tokenizer(path)
