"""CoNLL columns: a token and its tag a line, a blank line between sentences; and tokens put together to a text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from albertine.data.columns import Columns
from albertine.data.tag_schemes import looks_like_tags
from albertine.errors import ConfigError, DataError

__all__ = ["ColumnFile", "JoinedTokens", "Sentence", "join_tokens", "read_columns", "written_by_character"]

_DOCUMENT = "-DOCSTART-"
_TAG_AT_THE_END = re.compile(r"\s(?:O|[A-Z][-_]\S+)$")
# What stands before a sentence in CoNLL-U and its like: `# text = …`, `# id 7 domain=en`, `# newdoc`.
_METADATA = re.compile(r"#\s*(?:newdoc|newpar)\b|#\s+\S.*=|#\s*\w+\s*=")
# Han, kana and their punctuation, and full-width forms: what is written without blanks.
_CJK = re.compile("[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# A file is written by character where at least so many of its tokens have Han characters, and so many of those one.
_HAN_TOKENS, _SINGLE = 0.2, 0.95
_SAMPLE_LINES = 2000


@dataclass(slots=True)
class Sentence:
    """The lines between two blank ones."""

    line: int
    """The line of its first token."""
    tokens: list[str]
    tags: list[str]
    """As they stand in the file; empty where it has none."""
    problem: tuple[int, str] | None = None
    """A line that does not have the columns of the others, and what is wrong with it."""
    step: int = 1
    """Lines from a token to the next: 0 where the whole sentence stands on one."""

    def line_of(self, token: int) -> int:
        """Return the line that a token stands on."""
        return self.line + self.step * token


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFile:
    """A file taken apart."""

    sentences: list[Sentence]
    tagged: bool
    """Whether it has a column of tags."""
    columns: Columns
    """The columns that were read, by number."""
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedTokens:
    """Tokens put together."""

    text: str
    starts: list[int]
    """The first character of every token."""


def read_columns(text: str, *, columns: Columns, where: str, labelled: bool) -> ColumnFile:
    """Take a file apart; the token is its first column and the tag its last one unless others are asked for.

    Columns are divided by tabs, or by blanks where most lines have no tab. Of two columns the first may itself be a
    blank, of whatever kind. Lines that begin with -DOCSTART- divide sentences, and so do blank ones.

    Args:
        text: the whole file.
        columns: `text` and `label` as numbers, from 1.
        where: the file, for messages.
        labelled: whether the tags are needed.

    Raises:
        ConfigError: a column that is no number.
        DataError: the file does not have a column, or tags are needed and it holds none.
    """
    lines = text.split("\n") if "\n" in text else text.split("\r")
    lines = [line.rstrip(" \t\r") for line in lines]
    filled = [line for line in lines[:_SAMPLE_LINES] if line.strip() and not line.startswith(_DOCUMENT)]
    if not filled:
        raise DataError("the file has no rows", where=where, next_step="Pass a file with a token and a tag a line")
    divider = "\t" if 2 * sum("\t" in line for line in filled) > len(filled) else " "
    widths = Counter(len(_parts(line, divider)) for line in filled)
    width = widths.most_common(1)[0][0]
    token, tag = _place(columns.text, 1, width, where), _place(columns.label, width, width, where)
    if token == tag and width > 1:
        raise ConfigError("one column is asked for twice", received=f"column {token + 1}")
    skipped: Counter[str] = Counter()
    sentences = list(_sentences(lines, divider, width, (token, tag), skipped))
    tagged = width > 1 and looks_like_tags({value for one in sentences for value in one.tags})
    if labelled and not tagged:
        raise _no_tags(sentences, width, tag, where)
    notes = [f"{count:,} {what} were passed over" for what, count in skipped.items()]
    found = Columns(text=str(token + 1), label=str(tag + 1) if tagged else None)
    return ColumnFile(sentences=sentences, tagged=tagged, columns=found, notes=tuple(notes))


def written_by_character(sentences: Sequence[Sentence]) -> bool:
    """Say whether the tokens of a file are the characters of a text, as usual in Chinese."""
    counts = Counter(token for sentence in sentences for token in sentence.tokens)
    han = {token: count for token, count in counts.items() if _HAN.search(token)}
    total = sum(han.values())
    single = sum(count for token, count in han.items() if len(token) == 1)
    return total > 0 and total >= _HAN_TOKENS * counts.total() and single >= _SINGLE * total


def join_tokens(tokens: Sequence[str], *, by_character: bool) -> JoinedTokens:
    """Put tokens together, with blanks between those between which a text has one.

    Args:
        tokens: in their order; an empty one adds nothing.
        by_character: as `written_by_character` says of the file. A blank then stands only between two words of a
            foreign script or numbers, one of which has several characters (a lone letter is a letter of a word). Else
            it stands everywhere but between two CJK characters.
    """
    parts: list[str] = []
    starts: list[int] = []
    length, previous = 0, ""
    for token in tokens:
        if previous and token and _divided(previous, token, by_character=by_character):
            parts.append(" ")
            length += 1
        starts.append(length)
        parts.append(token)
        length += len(token)
        previous = token or previous
    return JoinedTokens(text="".join(parts), starts=starts)


def _divided(left: str, right: str, *, by_character: bool) -> bool:
    one, other = left[-1], right[0]
    if by_character:
        words = one.isalnum() and other.isalnum() and not _CJK.match(one) and not _CJK.match(other)
        return words and len(left) + len(right) > 2
    return not (_CJK.match(one) and _CJK.match(other))


def _parts(line: str, divider: str) -> list[str]:
    return line.split("\t") if divider == "\t" else [part for part in line.split(" ") if part]


def _place(asked: str | None, default: int, width: int, where: str) -> int:
    """Return which column is meant, counted from 0."""
    if asked is None:
        return default - 1
    if not re.fullmatch("[0-9]+", asked):
        raise ConfigError("columns without a header are numbers", received=repr(asked), allowed="1, 2, …")
    if not 1 <= int(asked) <= width:
        raise DataError("there is no such column", where=where, received=asked, allowed=f"1 to {width}")
    return int(asked) - 1


def _sentences(
    lines: Sequence[str], divider: str, width: int, places: tuple[int, int], skipped: Counter[str]
) -> Iterator[Sentence]:
    current: Sentence | None = None
    seen: dict[str, str] = {}  # every distinct token and tag is kept once
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith(_DOCUMENT):
            if line.strip():
                skipped["-DOCSTART- lines"] += 1
            if current is not None:
                yield current
            current = None
            continue
        if current is None:
            if _METADATA.match(line) and not _TAG_AT_THE_END.search(line):
                skipped["lines of metadata (# … =)"] += 1
                continue
            current = Sentence(number, [], [])
        fields = _fields(line, divider, width)
        if len(fields) != width:
            count = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
            current.problem = current.problem or (number, f"{count} where {width} are expected")
            fields = [""] * width
        current.tokens.append(seen.setdefault(fields[places[0]], fields[places[0]]))
        if width > 1:
            current.tags.append(seen.setdefault(fields[places[1]], fields[places[1]]))
    if current is not None:
        yield current


def _fields(line: str, divider: str, width: int) -> list[str]:
    """Return the columns of a line; of two, the first may be made of blanks, or empty where tabs divide them."""
    if width != 2:
        return [line] if width == 1 else _parts(line, divider)
    left, found, right = line.rpartition(divider)
    if not found:
        return [line]
    if divider == "\t":
        return [*left.split("\t"), right]
    token = left.strip(" ")
    return [*token.split(" "), right] if token else [left, right]


def _no_tags(sentences: Sequence[Sentence], width: int, tag: int, where: str) -> DataError:
    first = next((one for one in sentences if one.tags), None)
    shown = ", ".join(dict.fromkeys(first.tags if first else sentences[0].tokens))
    return DataError(
        f"column {tag + 1} of {width} holds no tags" if width > 1 else "the lines have one column, there are no tags",
        where=f"{where}:{sentences[0].line}",
        received=shown[:60] + ("…" if len(shown) > 60 else ""),
        allowed="O, B-TYPE, I-TYPE, … (also B_TYPE), with O somewhere",
        next_step="Name the column of the tags by its number with --label-column",
    )
