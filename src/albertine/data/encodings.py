"""Bytes to text, and the name of the encoding where the one that was asked for is wrong."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from albertine.errors import ConfigError, DataError

__all__ = ["SURROGATE", "Guess", "Text", "decode", "recognise"]

SURROGATE = re.compile("[\ud800-\udfff]")
"""What no text can be written with: half of a surrogate pair, or a byte that was not decoded (PEP 383)."""

_UNDECODED = re.compile("[\udc80-\udcff]")
# A file with more undecodable lines than this is in another encoding; with fewer, those lines are damaged.
_DAMAGED_SHARE = 0.05
_NEARLY_ALL = 0.8
# So many multi-byte characters cannot be valid UTF-8 by chance.
_CERTAINLY_UTF8 = 10
_SAMPLE_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """What the bytes look like."""

    name: str
    """The encoding, as --encoding takes it."""
    description: str
    """For people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A decoded file."""

    content: str
    """Without a byte order mark at its start; bytes that could not be decoded are lone surrogates (PEP 383)."""
    undecoded_lines: int
    """Lines with such bytes; 0 unless the caller asked to go on."""


_LITTLE_ENDIAN = Guess(name="utf-16-le", description="UTF-16 without a byte order mark, little-endian")
_BIG_ENDIAN = Guess(name="utf-16-be", description="UTF-16 without a byte order mark, big-endian")


def decode(data: bytes, encoding: str, *, where: str, go_on: bool = False) -> Text:
    """Decode a file's bytes; a byte order mark at the start is taken off.

    Args:
        data: the whole file.
        encoding: any text encoding that Python knows.
        where: the file, for messages.
        go_on: keep damaged bytes as lone surrogates instead of stopping at the first, as long as they are few.

    Raises:
        ConfigError: there is no such encoding.
        DataError: the bytes are in another encoding; the message names the first bad byte's line and, where it can be
            recognised, the right encoding.
    """
    name = _known(encoding)
    guess = recognise(data)
    if guess and guess.name.startswith("utf-16") and not name.startswith("utf-16"):
        raise _wrong(where, encoding, guess, None)
    undecoded = 0
    try:
        content = data.decode(name)
    except UnicodeDecodeError as error:
        paired = _surrogates_joined(data) if name == "utf-8" else None
        if paired is not None:
            return Text(content=paired.removeprefix("\ufeff"), undecoded_lines=0)
        line = data[: error.start].decode(name, errors="replace").count("\n") + 1
        bad_byte = f"byte 0x{data[error.start]:02x} (byte {error.start} of the file)"
        if not go_on:
            raise _wrong(f"{where}:{line}", encoding, guess, bad_byte) from error
        try:
            content = data.decode(name, errors="surrogateescape")
        except UnicodeDecodeError:
            raise _wrong(f"{where}:{line}", encoding, guess, bad_byte) from error
        lines = content.split("\n")
        undecoded = sum(1 for text in lines if _UNDECODED.search(text))
        if guess and undecoded > _DAMAGED_SHARE * len(lines):
            raise _wrong(f"{where}:{line}", encoding, guess, bad_byte) from error
    if name != "utf-8" and guess and guess.name == "utf-8":
        raise _wrong(where, encoding, guess, None)
    return Text(content=content.removeprefix("\ufeff"), undecoded_lines=undecoded)


def _surrogates_joined(data: bytes) -> str | None:
    """Decode UTF-8 with two surrogates of three bytes for every character beyond the basic plane; None for any other.

    That is CESU-8 (Unicode Technical Report 26), which programs write that hold text as UTF-16.
    """
    try:
        return data.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeError:
        return None


def recognise(data: bytes) -> Guess | None:
    """Say which encoding the bytes are in, as far as that can be seen; None for plain ASCII and where nothing fits.

    Recognised are UTF-8, UTF-16 (with a byte order mark, or by its zero bytes), GB18030 with GBK and GB2312, Big5, and
    the western single-byte encodings.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return Guess(name="utf-16", description="UTF-16")
    if data[:1000].count(0) > len(data[:1000]) // 8:
        little = data[1:1000:2].count(0) > data[:1000:2].count(0)
        return _LITTLE_ENDIAN if little else _BIG_ENDIAN
    if data.isascii():
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None if _damaged_utf8(data) else _wide(data) or _multibyte(data) or _single_byte(data)
    beyond = len(data) - len(text)
    return Guess(name="utf-8", description="UTF-8") if beyond >= _CERTAINLY_UTF8 else None


def _known(encoding: str) -> str:
    try:
        found = codecs.lookup(encoding)
        b"text".decode(encoding, errors="replace")
    except (LookupError, ValueError) as error:
        raise ConfigError(
            "unknown encoding",
            received=repr(encoding),
            allowed="a name Python knows, such as utf-8, gb18030, big5, utf-16, cp1252",
        ) from error
    return "utf-8" if found.name in ("utf-8", "utf-8-sig") else found.name


def _wrong(where: str, encoding: str, guess: Guess | None, bad_byte: str | None) -> DataError:
    if guess is None:
        return DataError(
            f"the bytes are not {encoding}",
            where=where,
            received=bad_byte,
            next_step="Pass the file's encoding with --encoding; where only some lines are damaged, --on-error skip "
            "leaves them out",
        )
    return DataError(
        f"the bytes are not {encoding}" if bad_byte else f"the bytes were to be read as {encoding}",
        where=where,
        received=bad_byte,
        next_step=f"It looks like {guess.description}: pass --encoding {guess.name}",
    )


def _damaged_utf8(data: bytes) -> bool:
    """Say whether nearly all that is no ASCII is UTF-8: two letters with accents would be a Chinese character too."""
    high = re.findall(rb"[\x80-\xff]+", data)
    return len(high) > 1 and sum(_is_utf8(run) for run in high) >= _NEARLY_ALL * len(high)


def _is_utf8(run: bytes) -> bool:
    try:
        run.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _wide(data: bytes) -> Guess | None:
    """Recognise Chinese UTF-16, which has few zero bytes: nearly every character is a Han character or ASCII."""
    for guess in (_LITTLE_ENDIAN, _BIG_ENDIAN):
        decoded = data[: 2 * _SAMPLE_CHARACTERS].decode(guess.name, errors="replace")
        fitting = sum(1 for c in decoded if c < "\x7f" or "\u3000" <= c <= "\u9fff" or "\uff00" <= c <= "\uff5e")
        if fitting > 0.95 * len(decoded):
            return guess
    return None


def _multibyte(data: bytes) -> Guess | None:
    """Tell GB18030 from Big5 by the share of characters that lie in either's table of frequent ones."""
    shares = {
        "gb18030": _frequent_share(data, "gb18030", "gb2312", range(0xB0, 0xD8)),
        "big5": _frequent_share(data, "big5", "big5", range(0xA4, 0xC7)),
    }
    best = max(shares, key=lambda name: shares[name])
    if shares[best] < 0.8:
        return None
    described = {"gb18030": "GBK (GB18030, simplified Chinese)", "big5": "Big5 (traditional Chinese)"}
    return Guess(name=best, description=described[best])


def _frequent_share(data: bytes, encoding: str, table: str, leads: range) -> float:
    decoded = data[: 4 * _SAMPLE_CHARACTERS].decode(encoding, errors="replace")
    beyond = [character for character in decoded if ord(character) > 127][:_SAMPLE_CHARACTERS]
    frequent = 0
    for character in beyond:
        written = character.encode(table, errors="replace")
        # Rows A1 to A3 hold the full-width punctuation and digits.
        frequent += len(written) == 2 and (written[0] in leads or 0xA1 <= written[0] <= 0xA3)
    return frequent / len(beyond) if beyond else 0.0


def _single_byte(data: bytes) -> Guess | None:
    """Accented letters stand alone between ASCII ones, unlike the bytes of a multi-byte character."""
    high = re.findall(rb"[\x80-\xff]+", data)
    alone = sum(1 for run in high if len(run) == 1)
    if alone < 0.7 * len(high):
        return None
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return Guess(name="latin-1", description="Latin-1 (western European)")
    return Guess(name="cp1252", description="Windows-1252 or Latin-1 (western European)")
