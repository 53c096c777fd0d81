"""UUIDv7 ids (RFC 9562, section 5.7) made from a transaction's time, so that id order is list order.

Pure: the time is the transaction's, the random bits are carried by the operation.
"""

from __future__ import annotations

from functools import lru_cache

_SEQUENCE_BITS = 18
_RANDOM_BITS = 62 - _SEQUENCE_BITS
_RANDOM_MASK = (1 << _RANDOM_BITS) - 1
_VARIANT = 2 << 62
#: How many ids one transaction can make at one stamp.
MAX_SEQUENCE = (1 << _SEQUENCE_BITS) - 1


def make_id(now: int, sequence: int, entropy: int) -> str:
    """The id number `sequence` of the transaction stamped `now` (microseconds).

    48 bits of milliseconds, version 7, the microseconds within the millisecond in the 12 bits of
    rand_a, then the variant, the sequence and 44 random bits. Ids of one store rise strictly,
    because its stamps do.
    """
    tail = f"{_VARIANT | (sequence << _RANDOM_BITS) | (entropy & _RANDOM_MASK):016x}"
    return f"{_first_half(now)}{tail[:4]}-{tail[4:]}"


@lru_cache(64)
def _first_half(now: int) -> str:
    """What all ids of one transaction begin with."""
    millis, micros = divmod(now, 1000)
    digits = f"{(millis << 16) | (7 << 12) | (micros << 2):016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:]}-"


def made_at(made: str) -> int:
    """The stamp (microseconds) of the transaction that made an id."""
    millis, micros = made[:8] + made[9:13], made[15:18]
    return int(millis, 16) * 1000 + (int(micros, 16) >> 2)


def first_id_at(moment: int) -> str:
    """A lower bound of all ids made at or after `moment` (microseconds), for cursors and retention."""
    if moment <= 0:
        return "00000000-0000-7000-8000-000000000000"
    return make_id(min(moment, ((1 << 48) - 1) * 1000), 0, 0)


def is_id(text: str) -> bool:
    """Whether `text` is spelled like an id: 8-4-4-4-12 lower-case hexadecimal digits."""
    parts = text.split("-")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(
        char in "0123456789abcdef" for part in parts for char in part
    )
