"""JSON rows of tokens and their tags, one list each, as Hugging Face's data sets write them: to sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from albertine.data.conll import Sentence
from albertine.data.results import BadRow
from albertine.data.structured import JsonRow
from albertine.errors import DataError

__all__ = ["TAG_KEYS", "TOKEN_KEYS", "holds_tokens", "token_sentences"]

TOKEN_KEYS = ("tokens", "words")
TAG_KEYS = ("ner_tags", "tags", "labels")


def holds_tokens(rows: Sequence[JsonRow], key: str) -> bool:
    """Say whether the first row that has the key holds a list of strings there."""
    found = next((row[key] for _, row in rows if not isinstance(row, str) and row.get(key) is not None), None)
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def token_sentences(
    rows: Sequence[JsonRow], tokens: str, tags: str | None, *, where: str, labelled: bool
) -> tuple[list[Sentence | BadRow], bool]:
    """Make a sentence of every row, or say why there is none.

    Args:
        rows: of a file.
        tokens: the key of the tokens.
        tags: the key of their tags; None where there is none.
        where: the file.
        labelled: True where every row must have tags; False to take them where all rows have some that can be read.

    Returns:
        One a row, in their order; and whether the sentences have tags.

    Raises:
        DataError: tags are needed, and numbers stand for them, whose names the file does not have.
    """
    if labelled and tags is not None:
        _refuse_numbers(rows, tags, where)
    found = [_sentence(line, row, tokens, tags, where, labelled=labelled) for line, row in rows]
    tagged = all(len(one.tags) == len(one.tokens) for one in found if isinstance(one, Sentence))
    return found, tagged and tags is not None


def _sentence(
    line: int, row: Mapping[str, object] | str, tokens: str, tags: str | None, where: str, *, labelled: bool
) -> Sentence | BadRow:
    def bad(kind: str, reason: str) -> BadRow:
        return BadRow(file=where, line=line, kind=kind, reason=reason)

    if isinstance(row, str):
        return bad("json", row)
    words, said = row.get(tokens), None if tags is None else row.get(tags)
    if not _strings(words):
        return bad("type", f"{tokens!r} is no list of strings")
    if not labelled:
        return Sentence(line, words, said if _strings(said) and len(said) == len(words) else [], step=0)
    if said is None:
        return bad("no-label", "the tags are missing")
    if not _strings(said):
        return bad("type", f"{tags!r} is no list of strings")
    if len(said) != len(words):
        return bad("fields", f"{len(words)} tokens and {len(said)} tags")
    return Sentence(line, words, said, step=0)


def _strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _refuse_numbers(rows: Sequence[JsonRow], tags: str, where: str) -> None:
    for line, row in rows:
        said = None if isinstance(row, str) else row.get(tags)
        if isinstance(said, list) and said and all(type(one) is int for one in said):
            raise DataError(
                "the tags are numbers, and the file does not say what they stand for",
                where=f"{where}:{line}",
                received=f"{tags} = {said!r:.60}",
                allowed="O, B-TYPE, I-TYPE, …",
                next_step="Write their names instead of them; a data set of Hugging Face's has these in "
                f"features[{tags!r}].feature.names",
            )
