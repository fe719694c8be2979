from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from albertine.checkpoints.bundle.checksums import extend_checksum, masked, masked_checksum
from albertine.checkpoints.bundle.records import Extent, slice_key
from albertine.checkpoints.bundle.wire import (
    WireError,
    WireReader,
    bytes_field,
    fixed32_field,
    read_fields,
    varint,
    varint_field,
)


@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_a_number_is_read_back_and_takes_a_byte_for_every_seven_bits(value: int) -> None:
    reader = WireReader(varint(value))
    assert reader.varint() == value
    assert reader.at_end
    assert len(varint(value)) == max((value.bit_length() + 6) // 7, 1)


@given(st.binary(max_size=99))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        fields = list(read_fields(data))
    except WireError:
        return
    assert sum(len(field.data) + 1 for field in fields) <= len(data)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1), st.binary(max_size=31))
def test_a_message_is_read_back(number: int, content: bytes) -> None:
    data = varint_field(3, number) + fixed32_field(6, 0xFFFFFFFF) + bytes_field(99, content)
    fields = {field.number: field for field in read_fields(data)}
    assert (fields[3].signed() if number else 3 not in fields) == (number or True)
    assert fields[6].fixed32() == 0xFFFFFFFF
    assert fields[99].content() == content


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x80", "cut off"),
        (b"\xff" * 10, "more than 64 bits"),
        (b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x80" * 11, "more than 64 bits"),
    ],
)
def test_a_number_that_does_not_end_or_is_too_large_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        WireReader(data).varint()


def test_more_bytes_than_are_left_are_refused_before_they_are_taken() -> None:
    reader = WireReader(b"abcdef", end=3)
    assert reader.take(2) == b"ab"
    with pytest.raises(WireError, match=r"1,000,000 bytes are announced where 1 are left"):
        reader.take(1_000_000)


# The check value of CRC-32C that its catalogues give, and the masked checksum of no bytes, which every index ends with.
def test_checksums_have_their_published_values() -> None:
    assert extend_checksum(0, b"123456789") == 0xE3069283
    assert extend_checksum(extend_checksum(0, b"1234"), b"56789") == 0xE3069283
    assert masked(0) == 0xA282EAD8
    assert masked_checksum(b"\0\0\0\0\1\0\0\0\0") == 0xB0A1F2C0


@given(
    st.lists(st.integers(min_value=-(2**62), max_value=2**62), min_size=2, max_size=2, unique=True),
)
def test_keys_of_slices_sort_as_their_starts_do(starts: list[int]) -> None:
    keys = [slice_key("kernel", (Extent(start=start, length=7),)) for start in sorted(starts)]
    assert keys == sorted(keys)


def test_the_key_of_a_slice_escapes_zero_bytes_and_tells_axes_apart() -> None:
    whole = Extent(start=0, length=None)
    assert slice_key("a\0b", (whole,)) == b"\0a\0\xffb\0\1\1\1\x80\x7f"
    assert slice_key("a", (whole, Extent(start=64, length=63))) == b"\0a\0\1\1\2\x80\x7f\xc0\x40\xbf"
