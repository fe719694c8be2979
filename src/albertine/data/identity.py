"""When two texts count as the same one."""

from __future__ import annotations

import hashlib
import unicodedata

from albertine.records import Example

__all__ = ["identity", "normalised"]

# Characters without width or meaning that copying leaves behind: zero width space, byte order mark.
_INVISIBLE = {0x200B: None, 0xFEFF: None}


def normalised(text: str) -> str:
    """Return the text as it is compared: NFKC, case-folded, white space collapsed, invisible characters removed."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_INVISIBLE).split())


def identity(example: Example) -> bytes:
    """Return 16 bytes that two examples share when they are the same text (for pairs: both texts, in this order)."""
    digest = hashlib.blake2b(normalised(example.text).encode(errors="surrogatepass"), digest_size=16)
    if example.text_pair is not None:
        # U+FFFF is no character, so no text can contain this boundary.
        digest.update("\uffff".encode())
        digest.update(normalised(example.text_pair).encode(errors="surrogatepass"))
    return digest.digest()
