"""The rows of files with opinions: triplets behind a sentence, records of three lines, JSON objects.

Every function here makes one row into an example, or says why it cannot.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from albertine.data.conll import Sentence, join_tokens, written_by_character
from albertine.data.marked_rows import RowError, Tally, check_text
from albertine.records import Example, Opinion, Span

__all__ = [
    "ASPECT",
    "EXPRESSION",
    "PLACE",
    "Record",
    "in_order",
    "json_example",
    "record_example",
    "record_words",
    "records",
    "triplet_example",
]

ASPECT = "aspect"
"""The label of every span that is spoken of."""
EXPRESSION = "opinion"
"""The label of every span that says what is thought."""
PLACE = "$T$"
"""Stands for the aspect in the text of a record."""

_TRIPLETS = "####"
_IMPLIED = "NULL"
"""What several data sets write where an aspect or an expression is implied."""
_SHOWN = 60
"""Characters of a value that a message shows."""


# --- a sentence and its triplets


def triplet_example(row: str, line: int, where: str, *, labelled: bool) -> Example:
    """Read `sentence####[([1, 2], [4], 'POS'), …]`: places of the aspect's and the expression's words, and polarity.

    That is how Xu et al. (2020, Position-Aware Tagging for Aspect Sentiment Triplet Extraction) and their followers
    write the data. Words are divided by blanks and counted from 0; an empty list says that there is no opinion.

    Args:
        row: the line.
        line: its number.
        where: the file.
        labelled: False where a sentence may stand alone.

    Raises:
        RowError: no triplets, or some that the sentence does not have.
    """
    text, divider, said = row.rpartition(_TRIPLETS)
    if not divider:
        if labelled:
            raise RowError("no-label", f"no triplets stand behind the sentence, after {_TRIPLETS}")
        text, said = row, ""
    check_text(text)
    words = [match.span() for match in re.finditer("[^ ]+", text)]
    opinions = []
    for triplet in _literal(said) if divider else ():
        if not isinstance(triplet, tuple | list) or len(triplet) != 3:
            raise RowError("type", f"a triplet is (aspect, expression, polarity), not {_shown(triplet)}")
        aspect, expression, polarity = triplet
        opinions.append(
            Opinion(
                aspect=_of_words(text, words, aspect, ASPECT),
                expression=_of_words(text, words, expression, EXPRESSION),
                polarity=_polarity(polarity, labelled=labelled),
            )
        )
    return Example(text=text, opinions=in_order(opinions) if divider else None, file=where, line=line)


def _literal(said: str) -> list[object]:
    try:
        found = ast.literal_eval(said.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RowError("type", f"behind {_TRIPLETS} stands no list of triplets but {_shown(said)}") from error
    if not isinstance(found, list):
        raise RowError("type", f"behind {_TRIPLETS} stands a {type(found).__name__}, not a list")
    return found


def _of_words(text: str, words: Sequence[tuple[int, int]], places: object, label: str) -> Span:
    if not isinstance(places, list) or not places or any(type(place) is not int for place in places):
        raise RowError("type", f"the places of an {label} are a list of whole numbers, not {_shown(places)}")
    if min(places) < 0 or max(places) >= len(words):
        raise RowError("spans", f"an {label} at the words {places} of a sentence of {len(words)}, the first is 0")
    if places != list(range(places[0], places[0] + len(places))):
        raise RowError("spans", f"the words {places} of an {label} do not follow each other")
    start, end = words[places[0]][0], words[places[-1]][1]
    return Span(start=start, end=end, label=label, text=text[start:end])


# --- records of three lines


@dataclass(frozen=True, slots=True)
class Record:
    """Lines that belong together."""

    line: int
    lines: tuple[str, ...]


def records(text: str) -> list[Record]:
    """Return the records of a file: each begins with a line that has the place of its aspect.

    Blank lines at a record's end are not part of it; what stands before the first one is a record that is none.
    """
    found: list[Record] = []
    current: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), PLACE], 1):
        if PLACE in line:
            while current and not current[-1].strip():
                current.pop()
            if current:
                found.append(Record(first, tuple(one.strip() for one in current)))
            current, first = [], number
        current.append(line)
    return found


def record_words(found: Sequence[Record]) -> bool:
    """Say whether the words of these records are the characters of a text, as usual in Chinese."""
    return written_by_character([Sentence(one.line, one.lines[0].split(), []) for one in found])


def record_example(record: Record, where: str, tally: Tally, *, by_character: bool, labelled: bool) -> Example:
    """Read text (with `$T$` where the aspect stands), aspect and polarity.

    Words are put together as in `albertine.data.conll`. Where the aspect stands several times, all of its places have
    the polarity.

    Args:
        record: its lines.
        where: the file.
        tally: of what is done to records.
        by_character: as from `record_words`.
        labelled: False where the polarity may be missing, because it is asked for.

    Raises:
        RowError: another number of lines, no place for the aspect, or one of the three is missing.
    """
    if PLACE not in record.lines[0]:
        raise RowError("fields", f"a record begins with a text that has {PLACE} where the aspect stands")
    if len(record.lines) != 3 and (labelled or len(record.lines) != 2):
        count = "1 line" if len(record.lines) == 1 else f"{len(record.lines)} lines"
        raise RowError("fields", f"a record has three lines, text, aspect and polarity, and this one has {count}")
    written, aspect, polarity = (*record.lines, "")[:3]
    if not aspect:
        raise RowError("fields", "the aspect is empty", record.line + 1)
    words: list[str] = []
    places: list[int] = []
    inside = aspect.split()
    for piece in re.split(rf"({re.escape(PLACE)})", written):
        if piece == PLACE:
            places.append(len(words))
        words += inside if piece == PLACE else piece.split()
    joined = join_tokens(words, by_character=by_character)
    check_text(joined.text)
    opinions = []
    for place in places:
        last = place + len(inside) - 1
        start, end = joined.starts[place], joined.starts[last] + len(inside[-1])
        span = Span(start=start, end=end, label=ASPECT, text=joined.text[start:end])
        opinions.append(Opinion(aspect=span, expression=None, polarity=_polarity(polarity, labelled=labelled)))
    if len(places) > 1:
        tally.add("records have their aspect in several places, which all have its polarity", record.line)
    return Example(text=joined.text, opinions=tuple(opinions), file=where, line=record.line)


# --- JSON


def json_example(
    row: Mapping[str, object], line: int, where: str, tally: Tally, *, keys: tuple[str, str | None], labelled: bool
) -> Example:
    """Read an object with a text and its opinions, a list of {aspect, expression, category, polarity}.

    Aspect and expression are {start, end}, the end one past the last character; or a piece of the text, which is then
    searched for; or null, or absent, where they are implied. A piece that stands in the text several times is the first
    one that no opinion before has, of those that cut no word if there are some.

    Args:
        row: the object.
        line: where it starts.
        where: the file.
        tally: of what is done to rows.
        keys: of text and opinions.
        labelled: False where opinions, or their polarities, may be missing.

    Raises:
        RowError: something is missing, of another type, or not in the text.
    """
    text, said = row.get(keys[0]), None if keys[1] is None else row.get(keys[1])
    if text is not None and not isinstance(text, str):
        raise RowError("type", f"the text is a {type(text).__name__}, not a string")
    text = text or ""
    check_text(text)
    if said is None and labelled:
        raise RowError("no-label", "the opinions are missing")
    if said is not None and not isinstance(said, list):
        raise RowError("type", f"the opinions are a {type(said).__name__}, not a list")
    opinions: list[Opinion] = []
    taken: set[tuple[str, int, int]] = set()
    for one in said or ():
        if not isinstance(one, Mapping):
            raise RowError("type", f"an opinion is {{aspect, expression, category, polarity}}, not {_shown(one)}")
        category = one.get("category")
        if category is not None and not isinstance(category, str):
            raise RowError("type", f"a category is a string, not {_shown(category)}")
        opinions.append(
            Opinion(
                aspect=_piece(text, one.get("aspect"), ASPECT, taken, tally, line),
                expression=_piece(text, one.get("expression"), EXPRESSION, taken, tally, line),
                polarity=_polarity(one.get("polarity"), labelled=labelled),
                category=(category or "").strip(),
            )
        )
    identifier = row.get("id")
    return Example(
        text=text,
        opinions=None if said is None else in_order(opinions),
        identifier=str(identifier) if isinstance(identifier, str | int) else "",
        file=where,
        line=line,
    )


def _piece(
    text: str, value: object, label: str, taken: set[tuple[str, int, int]], tally: Tally, line: int
) -> Span | None:
    if isinstance(value, Mapping):
        if "start" in value or "end" in value:
            span = _stated(text, value, label)
            taken.add((label, span.start, span.end))
            return span
        value = value.get("text")
    if value == _IMPLIED:
        tally.add(f'pieces are written "{_IMPLIED}" and taken as implied', line)
        value = None
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError("type", f"an {label} is {{start, end}}, a piece of the text, or null, not {_shown(value)}")
    piece = value.strip()
    if not piece:
        raise RowError("spans", f"an {label} is empty; null says that it is implied")
    found = [match.start() for match in re.finditer(f"(?={re.escape(piece)})", text)]
    if not found:
        raise RowError("spans", f"the {label} {_shown(piece)} does not stand in the text")
    whole = [start for start in found if not _cuts_word(text, start, start + len(piece))] or found
    start = next((one for one in whole if (label, one, one + len(piece)) not in taken), whole[0])
    taken.add((label, start, start + len(piece)))
    if len(whole) > 1:
        tally.add("pieces stand in their text several times; the first one that is free was taken", line)
    return Span(start=start, end=start + len(piece), label=label, text=piece)


def _stated(text: str, value: Mapping[str, object], label: str) -> Span:
    start, end = value.get("start"), value.get("end")
    if type(start) is not int or type(end) is not int:
        raise RowError("type", f"an {label} needs two whole numbers, not {_shown(start)} and {_shown(end)}")
    if not 0 <= start <= end <= len(text):
        raise RowError("spans", f"an {label} from {start} to {end} in a text of {len(text)} characters")
    found, piece = text[start:end], value.get("text")
    if isinstance(piece, str) and piece != found:
        raise RowError("spans", f"at {start} to {end} stands {_shown(found)}, not {_shown(piece)}")
    if not found.strip():
        raise RowError("spans", f"the {label} from {start} to {end} is empty; null says that it is implied")
    start += len(found) - len(found.lstrip())
    found = found.strip()
    return Span(start=start, end=start + len(found), label=label, text=found)


def _cuts_word(text: str, start: int, end: int) -> bool:
    """Say whether a piece begins or ends inside of a word, in scripts that set blanks between words."""
    return any(
        0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum() and max(text[at - 1 : at + 1]) < "\u2e80"
        for at in (start, end)
    )


# --- all of them


def in_order(opinions: Sequence[Opinion]) -> tuple[Opinion, ...]:
    """Return opinions by their place in the text, those without any first."""

    def place(one: Opinion) -> tuple[int, int, int, int]:
        return (*_ends(one.aspect), *_ends(one.expression))

    return tuple(sorted(opinions, key=place))


def _ends(span: Span | None) -> tuple[int, int]:
    return (-1, -1) if span is None else (span.start, span.end)


def _polarity(value: object, *, labelled: bool) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        if labelled:
            raise RowError("no-label", "the polarity is missing")
        return ""
    if not isinstance(value, str):
        raise RowError("type", f"a polarity is a string, not {_shown(value)}")
    return value.strip()


def _shown(value: object) -> str:
    return f"{value!r:.{_SHOWN}}"
