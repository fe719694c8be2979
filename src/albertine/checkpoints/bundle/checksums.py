"""CRC-32C of bytes, plain and masked as the sorted table and the tensor bundle store it."""

from __future__ import annotations

import google_crc32c

__all__ = ["extend_checksum", "masked", "masked_checksum"]

_MASK_DELTA = 0xA282EAD8


def extend_checksum(checksum: int, data: bytes) -> int:
    """Return the CRC-32C of what `checksum` covers followed by `data`; 0 covers nothing."""
    return int(google_crc32c.extend(checksum, data))


def masked(checksum: int) -> int:
    """Return a checksum rotated and shifted, so that checksums of bytes that hold checksums stay good ones."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def masked_checksum(data: bytes) -> int:
    """Return the masked CRC-32C of `data`."""
    return masked(extend_checksum(0, data))
