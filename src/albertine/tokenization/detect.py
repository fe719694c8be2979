"""Which kind of tokenizer a folder holds, seen from its files; a wrong one is refused with a reason."""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from albertine.errors import TokenizerError
from albertine.tokenization.albert_text import TextRules
from albertine.tokenization.normalization import Rules
from albertine.tokenization.pieces import Model
from albertine.tokenization.sentencepiece_model import PieceType, write_model
from albertine.tokenization.unigram import SPECIAL_NAMES, UnigramModel
from albertine.tokenization.wordpiece import LONGEST_WORD, WordPieceModel

__all__ = ["read_max_length", "read_tokenizer"]

log = logging.getLogger("albertine")

CASED_SHARE = 0.01
"""The share of tokens with a capital letter from which on a vocabulary is a cased one: 28 % are in BERT's cased one,
none in the uncased and the Chinese one."""
ROWS_TO_SPARE = 1024
"""Rows of an embedding beyond the vocabulary that are still taken for padding of its size."""
_NO_LIMIT = 1_000_000
"""A tokenizer without a maximum length says an enormous number."""
_SETTINGS_FILE = "tokenizer_config.json"
_NAMED_AT_MOST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _AddedToken:
    """A token that transformers looks for in a text before anything else."""

    content: str
    id: int
    file: Path
    """Where it stands."""


def read_tokenizer(path: Path) -> Model:
    """Read the tokenizer of a folder, or a single file.

    A folder may hold `tokenizer.json`, `vocab.txt` (or another single `*vocab*.txt`), `spiece.model` (or another single
    `*.model`), `tokenizer_config.json` and the model's config.

    Raises:
        TokenizerError: nothing to read, two vocabularies of which it cannot be said which one belongs to the model, a
            vocabulary that does not fit the model's config, or one of a kind that is not supported; tokens that were
            added behind the vocabulary.
    """
    folder = path if path.is_dir() else path.parent
    settings = _json(folder / _SETTINGS_FILE)
    if path.is_dir():
        models = [_read_file(file, settings) for file in _vocabulary_files(path)]
    else:
        models = [_read_file(path, settings)]
    size = _config_size(folder) if path.is_dir() else None
    chosen = _the_one(models, size, str(path))
    if path.is_dir():
        _check_agreement(folder / "tokenizer.json", chosen)
    if path.is_dir() or path.suffix == ".json":
        _check_added(_added_tokens(path), chosen, str(path))
    return chosen


def read_max_length(path: Path) -> int | None:
    """Return the tokens that a model takes at most, as the settings of its tokenizer say; None where they do not.

    Args:
        path: a folder, or a file of the tokenizer in it.

    Raises:
        TokenizerError: the settings are no JSON object.
    """
    length = _json((path if path.is_dir() else path.parent) / _SETTINGS_FILE).get("model_max_length")
    if isinstance(length, bool) or not isinstance(length, int | float) or not 1 <= length <= _NO_LIMIT:
        return None
    return int(length)


def _vocabulary_files(folder: Path) -> list[Path]:
    """Return one file of each kind of vocabulary in a folder; `tokenizer.json` only where it stands alone."""
    found = []
    for usual, pattern in (("vocab.txt", "*vocab*.txt"), ("spiece.model", "*.model")):
        files = [folder / usual] if (folder / usual).is_file() else sorted(folder.glob(pattern))
        if len(files) > 1:
            raise TokenizerError(
                "several vocabularies of one kind",
                where=str(folder),
                received=", ".join(file.name for file in files),
                next_step=f"Leave one, and name it {usual}",
            )
        found += files
    if not found and (folder / "tokenizer.json").is_file():
        found = [folder / "tokenizer.json"]
    if not found:
        raise TokenizerError(
            "no tokenizer files",
            where=str(folder),
            allowed="vocab.txt, spiece.model or tokenizer.json",
            next_step="Copy the tokenizer files of the model there",
        )
    return found


def _the_one(models: Sequence[Model], size: int | None, where: str) -> Model:
    """Return the model that fits the config; with no config, the only one there is."""
    fitting = [model for model in models if size is None or 0 <= size - len(model.tokens) <= ROWS_TO_SPARE]
    listed = " and ".join(f"{model.kind} with {len(model.tokens)} tokens" for model in models)
    if not fitting:
        raise TokenizerError(
            "the vocabulary does not fit the model",
            where=where,
            received=listed,
            allowed=f"{size} tokens, the vocab_size of the model's config",
            next_step="Give the tokenizer files that belong to this model",
        )
    if len(fitting) > 1:
        raise TokenizerError(
            "two vocabularies, and nothing says which one is the model's",
            where=where,
            received=listed,
            next_step="Remove the one that is not, or give the file itself",
        )
    chosen = fitting[0]
    if size is not None and size > len(chosen.tokens):
        log.warning("%s: the model has %d rows of embeddings for %d tokens", where, size, len(chosen.tokens))
    return chosen


def _check_agreement(file: Path, chosen: Model) -> None:
    """Refuse a `tokenizer.json` that stands beside a vocabulary and holds another one."""
    model = _part(_json(file), "model")
    vocabulary = model.get("vocab")
    size = len(vocabulary) if isinstance(vocabulary, list | dict) else None
    kind = str(model.get("type", chosen.kind)).lower()
    if kind != chosen.kind or size not in (None, len(chosen.tokens)):
        raise TokenizerError(
            "another vocabulary than in the file beside it",
            where=str(file),
            received=f"{kind} with {size} tokens beside {chosen.kind} with {len(chosen.tokens)}",
            next_step="Remove the file that does not belong to the model",
        )


def _read_file(file: Path, settings: Mapping[str, object]) -> Model:
    where = str(file)
    if file.suffix == ".json":
        return _from_library(file)
    if file.suffix == ".model":
        keep = settings.get("keep_accents")
        data = _read(file)
        draft = UnigramModel(data, rules=TextRules(keep_accents=keep is True), where=where)
        lowercase = _lowercase(settings, draft.tokens, where)
        if lowercase:
            return draft
        return UnigramModel(data, rules=TextRules(lowercase=False, keep_accents=keep is True), where=where)
    tokens = _lines(file)
    lowercase = _lowercase(settings, tokens, where)
    strip = settings.get("strip_accents")
    longest = settings.get("max_input_chars_per_word")
    return WordPieceModel(
        tokens,
        longest_word=longest if isinstance(longest, int) else LONGEST_WORD,
        rules=Rules(
            lowercase=lowercase,
            strip_accents=strip if isinstance(strip, bool) else lowercase,
            split_chinese=settings.get("tokenize_chinese_chars") is not False,
        ),
        where=where,
    )


def _lowercase(settings: Mapping[str, object], tokens: Sequence[str], where: str) -> bool:
    """Return the setting, else guess it from the vocabulary and say so."""
    given = settings.get("do_lower_case")
    if isinstance(given, bool):
        return given
    ordinary = [token for token in tokens if not re.fullmatch(r"\[.*\]|<.*>", token)]
    capitals = sum(any(letter.isupper() for letter in token) for token in ordinary)
    lowercase = capitals < CASED_SHARE * max(len(ordinary), 1)
    log.info(
        "%s: no do_lower_case in tokenizer_config.json; %d of %d tokens have capital letters, so text %s lower-cased",
        where,
        capitals,
        len(ordinary),
        "is" if lowercase else "is not",
    )
    return lowercase


def _config_size(folder: Path) -> int | None:
    """Return the vocabulary size that the model's config names, None where no config or no single one says it."""
    files = (
        [folder / "config.json"] if (folder / "config.json").is_file() else sorted(folder.glob("*bert_config*.json"))
    )
    sizes = {size for file in files if isinstance(size := _json(file).get("vocab_size"), int)}
    return sizes.pop() if len(sizes) == 1 else None


def _lines(file: Path) -> list[str]:
    try:
        text = _read(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenizerError("a vocabulary that is not UTF-8", where=str(file), received=str(error)) from error
    # Not splitlines(): a vocabulary may hold other line separators as tokens.
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise TokenizerError("cannot be read", where=str(file), received=error.strerror) from error


def _json(file: Path) -> Mapping[str, object]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(_read(file).decode("utf-8-sig"))
    except ValueError as error:
        raise TokenizerError("not valid JSON", where=str(file), received=str(error)) from error
    if not isinstance(found, dict):
        raise TokenizerError("not a JSON object", where=str(file))
    return found


def _from_library(file: Path) -> Model:
    """Read a `tokenizer.json` of the tokenizers library."""
    content = _json(file)
    model = _part(content, "model")
    kind = model.get("type")
    if kind not in ("WordPiece", "Unigram"):
        raise TokenizerError(
            "a tokenizer.json of another kind", where=str(file), received=repr(kind), allowed="WordPiece or Unigram"
        )
    if kind == "Unigram":
        return _unigram_from_library(file, model, _part(content, "normalizer"))
    return _wordpiece_from_library(file, model, _part(content, "normalizer"))


def _wordpiece_from_library(file: Path, model: Mapping[str, object], normalizer: Mapping[str, object]) -> Model:
    vocabulary = model.get("vocab")
    if normalizer.get("type") != "BertNormalizer" or model.get("continuing_subword_prefix", "##") != "##":
        raise TokenizerError(
            "a WordPiece tokenizer.json that does not follow BERT's rules",
            where=str(file),
            received=f"normalizer {normalizer.get('type')!r}",
            allowed="BertNormalizer and pieces with ##",
        )
    if not isinstance(vocabulary, dict) or sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise TokenizerError("ids that do not count from 0 without a gap", where=str(file))
    lowercase = normalizer.get("lowercase") is not False
    strip = normalizer.get("strip_accents")
    longest = model.get("max_input_chars_per_word")
    return WordPieceModel(
        sorted(vocabulary, key=lambda token: vocabulary[token]),
        rules=Rules(
            lowercase=lowercase,
            strip_accents=strip if isinstance(strip, bool) else lowercase,
            split_chinese=normalizer.get("handle_chinese_chars") is not False,
        ),
        longest_word=longest if isinstance(longest, int) else LONGEST_WORD,
        where=str(file),
    )


def _unigram_from_library(file: Path, model: Mapping[str, object], normalizer: Mapping[str, object]) -> Model:
    steps = normalizer.get("normalizers", [normalizer])
    steps = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    names = {step.get("type") for step in steps}
    unknown_steps = sorted(
        str(name) for name in names - {"Replace", "NFKD", "StripAccents", "Lowercase", "Precompiled"}
    )
    if unknown_steps or "Replace" not in names:
        raise TokenizerError(
            "a Unigram tokenizer.json that does not follow ALBERT's rules",
            where=str(file),
            received=f"normalizers {sorted(map(str, names))}",
            allowed="Replace, NFKD, StripAccents, Lowercase, Precompiled",
            next_step="Give the spiece.model of the model",
        )
    vocabulary, unk = model.get("vocab"), model.get("unk_id")
    if not isinstance(vocabulary, list) or not isinstance(unk, int) or not 0 <= unk < len(vocabulary):
        raise TokenizerError("no vocabulary or no unknown token", where=str(file))
    pieces, scores = [str(row[0]) for row in vocabulary], [float(row[1]) for row in vocabulary]
    special = {name for names in SPECIAL_NAMES.values() for name in names}
    # The types of pieces are not in this file. SentencePiece gives only special and user-defined pieces the score 0.
    types = [
        PieceType.UNKNOWN
        if index == unk
        else PieceType.CONTROL
        if piece in special
        else PieceType.USER_DEFINED
        if score == 0.0
        else PieceType.NORMAL
        for index, (piece, score) in enumerate(zip(pieces, scores, strict=True))
    ]
    charsmap = next((step.get("precompiled_charsmap") for step in steps if step.get("type") == "Precompiled"), "")
    try:
        compiled = base64.b64decode(str(charsmap), validate=True)
    except binascii.Error as error:
        raise TokenizerError("a damaged normalisation table", where=str(file), received=str(error)) from error
    rules = TextRules(lowercase="Lowercase" in names, keep_accents="StripAccents" not in names)
    return UnigramModel(write_model(pieces, scores, types, compiled), rules=rules, where=str(file))


def _part(content: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = content.get(name)
    return part if isinstance(part, dict) else {}


def _added_tokens(path: Path) -> list[_AddedToken]:
    """Return the added tokens of a folder, or of one `tokenizer.json`, wherever transformers of any age wrote them."""
    library = path / "tokenizer.json" if path.is_dir() else path
    rows = _json(library).get("added_tokens")
    entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    found = [(row.get("content"), row.get("id"), library) for row in entries]
    if path.is_dir():
        file = path / "added_tokens.json"
        found += [(content, index, file) for content, index in _json(file).items()]
        file = path / _SETTINGS_FILE
        for index, row in _part(_json(file), "added_tokens_decoder").items():
            number = int(index) if index.isdecimal() else None
            found.append((row.get("content") if isinstance(row, dict) else row, number, file))
    return [
        _AddedToken(content=content, id=index, file=file)
        for content, index, file in found
        if isinstance(content, str) and isinstance(index, int)
    ]


def _check_added(added: Sequence[_AddedToken], model: Model, where: str) -> None:
    """Refuse tokens that were added behind the vocabulary, and tell of those in it: none is looked for in a text.

    Without them texts would be cut in another way than the model has learnt, and saving would drop them.
    """
    known = dict(enumerate(model.tokens))
    beyond = [token for token in added if known.get(token.id) != token.content]
    if beyond:
        raise TokenizerError(
            "tokens were added behind the vocabulary, which are not supported",
            where=", ".join(sorted({str(token.file) for token in beyond})),
            received=_named(beyond),
            allowed=f"the {len(model.tokens):,} tokens of the vocabulary",
            next_step="If your texts have none of these, remove them from these files in a copy of the folder",
        )
    special = model.special
    five = {special.pad, special.unk, special.cls, special.sep, special.mask}
    words = {token.id: token for token in added if token.id not in five}
    if not words:
        return
    cut = model.encode([token.content for token in words.values()], offsets=False)
    pieces = [cut.ids[start:end].tolist() for start, end in itertools.pairwise(cut.starts)]
    otherwise = [token for token, ids in zip(words.values(), pieces, strict=True) if ids != [token.id]]
    if otherwise:
        log.warning(
            "%s: transformers keeps added tokens whole, here they are cut like any other text: %s",
            where,
            _named(otherwise),
        )


def _named(tokens: Sequence[_AddedToken]) -> str:
    unique = {token.id: token for token in tokens}
    names = [f"{token.content!r} (id {index})" for index, token in unique.items()]
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")
