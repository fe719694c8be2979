"""Which column is the text, which the second text of a pair, which the label: asked for, or guessed and said aloud."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from albertine.errors import ConfigError, DataError, did_you_mean

__all__ = ["Columns", "Layout", "has_known_header", "plain_name", "resolve"]


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Names under which the columns are found without being asked for, in the form that `plain_name` gives them.
_TEXT = _words(
    """text text_a review reviews review_text reviewtext sentence content comment comments message msg body document doc
    question query utterance tweet post sms title headline description abstract 文本 评论 内容 句子 标题 正文"""
)
_LABEL = _words(
    """label labels cat category class sentiment target intent quality polarity topic rating stars gold_label
    is_duplicate 标签 类别 分类 情感"""
)
_ORDINAL = _words("index idx id ids number no nr row line guid uuid unnamed:_0 序号 编号") | {""}
_PAIRS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("question1", "question2"),
    ("premise", "hypothesis"),
    ("#1_string", "#2_string"),
    ("query1", "query2"),
    ("q1", "q2"),
    ("s1", "s2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns to read. A number counts columns from 1, for files without a header line.

    Raises:
        ConfigError: a second text without a first one, or one column for two purposes.
    """

    text: str | None = None
    """The text, or the first text of a pair; None to look for a usual name (text, review, sentence, content, …)."""
    text_pair: str | None = None
    """The second text of a pair; None to look for one, unless `text` is given."""
    label: str | None = None
    """The label; None to look for a usual name (label, category, class, sentiment, …)."""

    def __post_init__(self) -> None:
        if self.text_pair is not None and self.text is None:
            raise ConfigError("a second text column without a first", next_step="Give --text-column as well")
        given = [name for name in (self.text, self.text_pair, self.label) if name is not None]
        if len(set(given)) < len(given):
            raise ConfigError("one column is asked for twice", received=", ".join(given))

    @property
    def by_number(self) -> bool:
        """True where columns are given, all of them by number."""
        given = [name for name in (self.text, self.text_pair, self.label) if name is not None]
        return bool(given) and all(re.fullmatch("[0-9]+", name) for name in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where in a row the columns stand, counted from 0."""

    text: int
    text_pair: int | None
    label: int | None
    columns: Columns
    """The same by name, or by number where the file has no header."""
    notes: tuple[str, ...]
    """What was guessed."""

    @property
    def positions(self) -> tuple[int, ...]:
        """Return every position in use."""
        return tuple(place for place in (self.text, self.text_pair, self.label) if place is not None)


def has_known_header(cells: Sequence[str]) -> bool:
    """Say whether the first line of a file consists of usual column names, so that it cannot be a row."""
    plain = [plain_name(cell) for cell in cells]
    paired = {name for pair in _PAIRS for name in pair}
    known = _TEXT | _LABEL | paired
    return any(name in known for name in plain) and all(name in known | _ORDINAL for name in plain)


def resolve(
    names: Sequence[str],
    columns: Columns,
    *,
    where: str,
    labelled: bool,
    header: bool = True,
    sample: Sequence[Sequence[str]] = (),
) -> Layout:
    """Find the columns among a file's.

    Args:
        names: the file's column names, or the cells of its first row.
        columns: what the user asked for.
        where: the file, for messages.
        labelled: True where a label column is needed; else it is used where one is found.
        header: False where the file has no header, so that columns are numbers.
        sample: the first rows of a file that may lack a header, to suggest numbers for its columns.

    Raises:
        DataError: a column is missing, or several could be it.
    """
    if not header:
        return _by_number(len(names), columns, where=where, labelled=labelled)
    if columns.by_number and not labelled and max(_numbers(columns)) > len(names):
        # The unlabelled test file of a set whose other files have no header and more columns.
        columns = Columns()
    plain = [plain_name(name) for name in names]
    notes: list[str] = []
    label = _given(columns.label, names, where, "label", needed=labelled)
    if label is None and columns.label is None:
        label = _guessed_label(names, plain, columns, where, labelled, notes)
    if columns.text is not None:
        text = _given(columns.text, names, where, "text", needed=True)
        pair = _given(columns.text_pair, names, where, "text-pair", needed=True) if columns.text_pair else None
    else:
        text, pair = _guessed_texts(names, plain, label, where, notes, sample)
    assert text is not None  # _given raises where a needed column is missing
    if label is None and labelled:
        label = _remaining(names, plain, {text, pair}, where, notes, sample)
    found = Columns(
        text=names[text] or str(text + 1),
        text_pair=None if pair is None else names[pair],
        label=None if label is None else names[label],
    )
    return Layout(text=text, text_pair=pair, label=label, columns=found, notes=tuple(notes))


def plain_name(name: str) -> str:
    """Return the name of a column as it is compared: lower-cased, blanks and hyphens as underscores."""
    return re.sub(r"[\s\-]+", "_", name.strip().strip("\ufeff\"'").lower())


def _numbers(columns: Columns) -> list[int]:
    return [int(name) for name in (columns.text, columns.text_pair, columns.label) if name is not None]


def _by_number(width: int, columns: Columns, *, where: str, labelled: bool) -> Layout:
    if columns.text is None:
        raise DataError(
            "the label's column is given by number, the text's is not",
            where=where,
            next_step="Give --text-column as a number too",
        )
    if labelled and columns.label is None:
        raise DataError("no label column is given", where=where, next_step="Add --label-column with its number")
    for number in _numbers(columns):
        if not 1 <= number <= width:
            raise DataError(
                f"column {number} was asked for",
                where=where,
                received=f"a file with {width} columns",
                allowed=f"1 to {width}",
            )
    return Layout(
        text=int(columns.text) - 1,
        text_pair=None if columns.text_pair is None else int(columns.text_pair) - 1,
        label=None if columns.label is None else int(columns.label) - 1,
        columns=columns,
        notes=(),
    )


def _given(name: str | None, names: Sequence[str], where: str, option: str, *, needed: bool) -> int | None:
    """Return the position of a column by its name (exact, else without regard to case and blanks) or its number."""
    if name is None:
        return None
    if name in names:
        return list(names).index(name)
    alike = [place for place, other in enumerate(names) if plain_name(other) == plain_name(name)]
    if len(alike) == 1:
        return alike[0]
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1
    if not needed:
        return None
    option = f"--{option}-column"
    raise DataError(
        f"there is no column {name!r}",
        where=where,
        allowed=_listed(names),
        next_step=did_you_mean(name, names, option=option) or f"Name one of these with {option}",
    )


def _guessed_label(
    names: Sequence[str], plain: list[str], columns: Columns, where: str, labelled: bool, notes: list[str]
) -> int | None:
    taken = {plain_name(name) for name in (columns.text, columns.text_pair) if name is not None}
    candidates = [place for place, name in enumerate(plain) if name in _LABEL and name not in taken]
    exact = [place for place in candidates if plain[place] == "label"]
    if len(exact) == 1:
        others = [names[place] for place in candidates if place != exact[0]]
        if others:
            notes.append(f"the label is column {names[exact[0]]!r}; --label-column {others[0]} would take that one")
        return exact[0]
    if len(candidates) == 1:
        notes.append(f"the label is taken from column {names[candidates[0]]!r}")
        return candidates[0]
    if candidates and labelled:
        raise DataError(
            "several columns could be the label",
            where=where,
            received=_listed([names[place] for place in candidates]),
            next_step="Say which with --label-column",
        )
    return None


def _guessed_texts(
    names: Sequence[str],
    plain: list[str],
    label: int | None,
    where: str,
    notes: list[str],
    sample: Sequence[Sequence[str]],
) -> tuple[int, int | None]:
    places = {name: place for place, name in reversed(list(enumerate(plain))) if place != label}
    pairs = [(places[a], places[b]) for a, b in _PAIRS if a in places and b in places]
    paired = {place for pair in pairs for place in pair}
    singles = [place for name, place in places.items() if name in _TEXT and place not in paired]
    singles.sort()
    if "text" in places and not pairs:
        others = [names[place] for place in singles if place != places["text"]]
        if others:
            notes.append(f"the text is column 'text'; --text-column {others[0]} would take that one")
        return places["text"], None
    if len(pairs) == 1 and not singles:
        first, second = pairs[0]
        if plain[first] != "text_a":
            notes.append(f"the two texts are taken from columns {names[first]!r} and {names[second]!r}")
        return first, second
    if len(singles) == 1 and not pairs:
        notes.append(f"the text is taken from column {names[singles[0]]!r}")
        return singles[0], None
    if singles or pairs:
        raise DataError(
            "several columns could be the text",
            where=where,
            received=_listed([names[place] for place in sorted({*singles, *paired})]),
            next_step="Say which with --text-column (and --text-pair-column where each row has two texts)",
        )
    left = _left_over(plain, {label})
    if len(left) == 1 and (label is not None or len(names) == 1):
        notes.append(f"the text is taken from column {names[left[0]]!r}, the only one left")
        return left[0], None
    raise DataError(
        "no column has a name by which it could be the text",
        where=where,
        received=_listed(names),
        allowed="text (or text_a and text_b), review, sentence, content, …",
        next_step=f"Name it with --text-column{_numbers_hint(sample)}",
    )


def _remaining(
    names: Sequence[str],
    plain: list[str],
    taken: set[int | None],
    where: str,
    notes: list[str],
    sample: Sequence[Sequence[str]],
) -> int | None:
    left = _left_over(plain, taken)
    if len(left) == 1:
        notes.append(f"the label is taken from column {names[left[0]]!r}, the only one left")
        return left[0]
    raise DataError(
        "no column has a name by which it could be the label",
        where=where,
        received=_listed(names),
        allowed="label, category, class, sentiment, …",
        next_step=f"Name it with --label-column{_numbers_hint(sample)}",
    )


def _left_over(plain: list[str], taken: set[int | None]) -> list[int]:
    return [
        place
        for place, name in enumerate(plain)
        if place not in taken and name not in _ORDINAL and not name.endswith(("_id", "_idx"))
    ]


def _numbers_hint(sample: Sequence[Sequence[str]]) -> str:
    """Suggest column numbers: the label's column has the fewest different values, the text's is the longest."""
    width = min((len(row) for row in sample), default=0)
    if width == 0:
        return ""
    if width == 1:
        return "; if the file has no header line, --text-column 1 takes its only column"
    values = [[row[place] for row in sample] for place in range(width)]
    text = max(range(width), key=lambda place: sum(map(len, values[place])))
    rest = [place for place in range(width) if place != text]
    varied = [place for place in rest if len(set(values[place])) > 1] or rest
    label = min(varied, key=lambda place: len(set(values[place])))
    return f"; if the file has no header line, number the columns: --text-column {text + 1} --label-column {label + 1}"


def _listed(names: Sequence[str]) -> str:
    """Join names for a message; a file without a header has its first row here, so long ones are cut."""
    shown = [repr(name if len(name) <= 40 else name[:39] + "…") for name in names[:12]]
    return ", ".join(shown) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
