"""Texts with the texts that are to be written about them: translations, summaries, titles.

A table (CSV, TSV, JSON Lines, JSON, Parquet) has a column of sources and one of targets. Parallel files hold a text a
line, the source in one and the target on the same line of the other, and are told apart by their last extension
(`train.en` and `train.de`, packed or not), which names the language.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from albertine.data.columns import Columns, plain_name
from albertine.data.compressed import Source, read_source
from albertine.data.delimited import read_sheet
from albertine.data.encodings import SURROGATE, decode
from albertine.data.formats import DataFormat
from albertine.data.readers import read_examples
from albertine.data.results import BadRow, FileRows, ReadResult, one_of, read_result
from albertine.data.split_files import ROLES, SplitFiles, find_split_files, only_one
from albertine.data.structured import JSON_LINES, ParquetTable, json_names, read_json, read_json_lines
from albertine.errors import ConfigError, DataError
from albertine.records import Example

__all__ = ["TRANSLATIONS", "find_translation_files", "read_translations"]

_logger = logging.getLogger("albertine")

# Names under which source and target are found without being asked for.
_PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("src", "trg"),
    ("input", "output"),
    ("document", "summary"),
    ("article", "summary"),
    ("article", "highlights"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("原文", "译文"),
    ("原文", "摘要"),
    ("正文", "标题"),
)
_PACKED = (".gz", ".xz", ".zst", ".zip")
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".pq")
_SOURCE_WORDS, _TARGET_WORDS = ("source", "src"), ("target", "tgt", "trg")
_LANGUAGE = re.compile("[a-z]{2,3}([-_][a-z]{2,4})?|source|target")
"""An extension that may name a language: de, deu, zh-hans, pt_br."""
_HEAD = 200
"""Lines from which the names of a table's columns are taken."""


def read_translations(
    path: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008  a frozen record
    encoding: str = "utf-8",
    on_error: str = "stop",
    labelled: bool = True,
    quoting: str = "auto",
) -> ReadResult:
    """Read sources and targets from a table, or from a file of sources and the one of targets beside it.

    Args:
        path: a table, or the source file of two parallel ones.
        columns: `text` is the source's column and `label` (or `text_pair`) the target's; those not given are looked for
            by their usual names, and the notes say which. Of parallel files they are the last extensions, of which only
            the target's can be in question.
        encoding: as in `read_examples`.
        on_error: as in `read_examples`; parallel files of different lengths are refused in either case, as nobody can
            tell which line is too many.
        labelled: True where every source must have its target; False to take targets where there are some.
        quoting: as in `read_examples`.

    Raises:
        ConfigError: as `read_examples`, or two columns for the target.
        DataError: as `read_examples`; there is no target file, several could be it, or its lines are more or fewer.
    """
    one_of("on_error", on_error, ("stop", "skip"))
    path = Path(path)
    if columns.label is not None and columns.text_pair is not None:
        raise ConfigError(
            "two columns for the target", received=f"{columns.text_pair}, {columns.label}", allowed="one of them"
        )
    target = columns.label or columns.text_pair
    if _language(path) is not None:
        return _read_parallel(path, target, encoding=encoding, on_error=on_error, labelled=labelled)
    chosen = _columns(path, columns.text, target, encoding=encoding, labelled=labelled, quoting=quoting)
    # Read as pairs a missing target is a bad row; read as labels it is just missing.
    asked = Columns(text=chosen.text, text_pair=chosen.label) if labelled else chosen
    read = read_examples(path, columns=asked, encoding=encoding, on_error=on_error, labelled=False, quoting=quoting)
    examples = [
        replace(one, text_pair=None, label=None, target=one.text_pair if labelled else one.label)
        for one in read.examples
    ]
    found = Columns(text=read.columns.text, label=read.columns.text_pair if labelled else read.columns.label)
    return replace(read, examples=tuple(examples), columns=found)


def find_translation_files(
    path: Path,
    *,
    dev: Path | None = None,
    test: Path | None = None,
    columns: Columns = Columns(),  # noqa: B008
) -> SplitFiles:
    """Find the files of a data set, as `find_split_files` does, of parallel files the sources'.

    Args:
        path: a file, or a folder with train, dev and test as tables or as parallel files.
        dev: a development file, instead of the folder's.
        test: a test file, instead of the folder's.
        columns: `text` is the extension of the source files in a folder of parallel ones; without it they are those
            named source or src.

    Raises:
        DataError: as `find_split_files`, or it cannot be told which of the parallel files are the sources.
    """
    entries = sorted(path.iterdir()) if path.is_dir() else []
    entries = [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
    training = [entry for entry in entries if _role(entry) == "train"]
    languages = {language for entry in training if (language := _language(entry)) is not None}
    if not languages or any(_language(entry) is None and _suffix(entry) in _TABLES for entry in training):
        return find_split_files(path, dev=dev, test=test)
    source = _source_language(path, languages, columns.text)

    def found(role: str) -> Path | None:
        return only_one(path, role, [one for one in entries if _role(one) == role and _language(one) == source])

    train = found("train")
    assert train is not None, "the language is that of a training file"
    return SplitFiles(train=train, dev=dev or found("dev"), test=test or found("test"))


# ------------------------------------------------------------------------------------------------------ parallel files


def _suffix(path: Path) -> str:
    """Return the last extension inside of the packing, lower case, with its dot."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def _language(path: Path) -> str | None:
    """Return which of parallel files this is; None for a table, or a file whose name does not say."""
    suffix = _suffix(path)
    named = suffix not in (".txt", *_TABLES) and _LANGUAGE.fullmatch(suffix[1:])
    return suffix[1:] if named else None


def _stem(path: Path) -> str:
    """Return what parallel files have in common: the name without packing and language."""
    name = path.name
    if path.suffix.lower() in _PACKED:
        name = name[: -len(path.suffix)]
    return name.rsplit(".", 1)[0]


def _role(path: Path) -> str | None:
    stem = path.name.split(".")[0].lower()
    if stem in ROLES:
        return ROLES[stem]
    roles = {ROLES[word] for word in re.split(r"[-_ ]+", stem) if word in ROLES}
    return roles.pop() if len(roles) == 1 else None


def _source_language(folder: Path, languages: set[str], asked: str | None) -> str:
    listed = ", ".join(sorted(languages))
    if asked is not None:
        if asked.lower() not in languages:
            raise DataError(
                "no training file has this extension", where=str(folder), received=repr(asked), allowed=listed
            )
        return asked.lower()
    named = [language for language in sorted(languages) if language in _SOURCE_WORDS]
    if len(named) == 1:
        return named[0]
    raise DataError(
        "the folder holds parallel files, and it cannot be told which are the sources",
        where=str(folder),
        received=f"files that end in {listed}",
        next_step=f"Name the source's extension with --text-column, such as --text-column {sorted(languages)[0]}",
    )


def _twin(path: Path, asked: str | None, *, needed: bool) -> Path | None:
    """Find the target file beside a source file; None where there is none.

    Raises:
        DataError: it is needed, and there is none or several could be it.
    """
    own, stem = _language(path), _stem(path)
    found = [
        entry
        for entry in sorted(path.parent.iterdir())
        if entry.is_file() and _stem(entry) == stem and _language(entry) not in (None, own)
    ]
    if asked is not None:
        found = [entry for entry in found if _language(entry) == asked.lower()]
    elif len(found) > 1 and own in _SOURCE_WORDS:
        found = [entry for entry in found if _language(entry) in _TARGET_WORDS] or found
    if not needed and len({_language(entry) for entry in found}) > 1:
        return None
    if needed and not found:
        raise DataError(
            "there is no file of targets beside it",
            where=str(path),
            allowed=f"{stem}.{asked or '(another language)'}, packed or not",
            next_step="Put both files into one folder, under names that differ in their last extension",
        )
    if len({_language(entry) for entry in found}) > 1:
        raise DataError(
            "several files could hold the targets",
            where=str(path),
            received=", ".join(entry.name for entry in found),
            next_step=f"Name the target's extension with --label-column, such as --label-column {_language(found[0])}",
        )
    packed_alike = [entry for entry in found if entry.suffix.lower() == path.suffix.lower()]
    return next(iter(packed_alike or found), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """The lines of a file."""

    path: Path
    lines: list[str]


def _read_lines(path: Path, encoding: str, *, go_on: bool) -> _Lines:
    text = decode(read_source(path).data, encoding, where=str(path), go_on=go_on).content
    lines = text.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return _Lines(path=path, lines=[line.removesuffix("\r") for line in lines])


def _read_parallel(path: Path, target: str | None, *, encoding: str, on_error: str, labelled: bool) -> ReadResult:
    skip = on_error == "skip"
    sources = _read_lines(path, encoding, go_on=skip)
    twin = _twin(path, target, needed=labelled)
    targets = None if twin is None else _read_lines(twin, encoding, go_on=skip)
    if targets is not None and len(targets.lines) != len(sources.lines):
        raise DataError(
            "the two files differ in their number of lines, so that it cannot be told what belongs together",
            where=f"{path} and {targets.path.name}",
            received=f"{len(sources.lines):,} and {len(targets.lines):,} lines",
            next_step="Mend the files; an empty line may stand for a text that is missing",
        )

    def row(number: int, source: str) -> Example | BadRow:
        problem = next(_problems(sources, targets, number, labelled=labelled), None)
        if problem is not None:
            return problem
        written = None if targets is None else targets.lines[number - 1]
        return Example(
            text=source,
            target=written if written is not None and written.strip() else None,
            file=str(path),
            line=number,
        )

    file = FileRows(
        rows=(row(number, source) for number, source in enumerate(sources.lines, 1)),
        columns=Columns(text=_language(path), label=None if twin is None else _language(twin)),
        notes=lambda: [] if twin is None else [f"the targets are the lines of {twin.name}"],
    )
    return read_result(file, where=str(path), name=path.name, on_error=on_error)


def _problems(sources: _Lines, targets: _Lines | None, number: int, *, labelled: bool) -> Iterator[BadRow]:
    """Yield what is wrong with a line of the two files."""
    for side, name, needed in ((sources, "source", True), (targets, "target", labelled)):
        if side is None:
            continue
        line, file = side.lines[number - 1], str(side.path)
        if needed and not line.strip():
            yield BadRow(file=file, line=number, kind="empty-text", reason=f"the {name} is empty")
        elif SURROGATE.search(line):
            yield BadRow(file=file, line=number, kind="encoding", reason="bytes that the encoding does not know")


# -------------------------------------------------------------------------------------------------------------- tables


def _columns(
    path: Path, text: str | None, target: str | None, *, encoding: str, labelled: bool, quoting: str
) -> Columns:
    """Return the columns of source and target: as asked for, or by their usual names."""
    if text is not None and (target is not None or not labelled):
        return Columns(text=text, label=target)
    source = read_source(path)
    names = _names(source, encoding, quoting) if source.data.strip() else []
    plain = [plain_name(name) for name in names]
    known = [(plain.index(first), plain.index(second)) for first, second in _PAIRS if {first, second} <= set(plain)]
    if {"source", "target"} <= set(plain):
        known = known[:1]
    if text is not None or target is not None:
        given = text if text is not None else target
        assert given is not None, "one of the two is there"
        known = [pair for pair in known if plain_name(given) == plain[pair[0 if text is not None else 1]]]
    if len(known) == 1:
        first, second = (names[place] for place in known[0])
        if (plain[known[0][0]], plain[known[0][1]]) != _PAIRS[0]:
            _logger.info("%s: source and target are taken from columns %r and %r", path.name, first, second)
        return Columns(text=first, label=second)
    if not labelled:
        alone = [name for name, one in zip(names, plain, strict=True) if one in _SOURCE_WORDS]
        return Columns(text=text or (alone[0] if len(alone) == 1 else None), label=target)
    raise DataError(
        "several columns could be source and target" if known else "no columns have names of source and target",
        where=str(path),
        received=", ".join(map(repr, names[:12])) or "an empty file",
        allowed="source and target (or src and tgt, document and summary, …)",
        next_step="Name them with --text-column and --label-column (by number where the file has no header line)",
    )


def _names(source: Source, encoding: str, quoting: str) -> Sequence[str]:
    """Return the names of a table's columns, or the cells of its first row."""
    where = str(source.path)
    if source.suffix in (".parquet", ".pq") or source.data.startswith(b"PAR1"):
        return ParquetTable(source.data, where=where).names
    text = decode(source.data, encoding, where=where, go_on=True).content
    if source.suffix == ".json":
        return json_names(read_json(text, where=where))
    head = "\n".join(text.split("\n", _HEAD)[:_HEAD])
    if source.suffix in JSON_LINES or (source.suffix not in (".csv", ".tsv") and text.lstrip()[:1] == "{"):
        # an object over several lines is not to be cut
        whole_lines = text.lstrip().split("\n", 1)[0].rstrip().endswith("}")
        return json_names(read_json_lines(head if whole_lines else text, where=where))
    records = read_sheet(head, suffix=source.suffix, quoting=quoting).records
    return records[0].cells if records else []


TRANSLATIONS = DataFormat(
    read=read_translations,
    files=find_translation_files,
    answered=lambda example: example.target is not None,
    # several translations of one source do not contradict each other
    answer=lambda example: "",
    labels=lambda example: (),
    units="distinct sources",
    shared="their source",
)
"""Sources with their targets; rows of one source never fall on two sides of a split."""
