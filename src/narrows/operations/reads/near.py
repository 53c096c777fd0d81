"""When is a key near another one? Pure: two keys in, a rank and half a sentence out; and the spellings
that are worth a look in an index. Not here: the looking (`near_keys.py`)."""

from __future__ import annotations

from typing import Final, NamedTuple

#: What stands before the last (or first) of these is the family of a key.
_SEPARATORS: Final = ":/"
#: A key up to this length is also tried with each character left out and each pair swapped.
_SHORT_KEY: Final = 64
_MAX_EDITS: Final = 2


class Kinship(NamedTuple):
    """How a key is near to the one asked for; the lowest rank is the nearest. `reason` goes on from
    "it ..."."""

    rank: int
    reason: str


def kinship(asked: str, other: str) -> Kinship | None:
    """How `other` is near to `asked`; None where it is not, or is the same."""
    if asked == other:
        return None
    if asked.casefold() == other.casefold():
        return Kinship(0, "it differs by upper and lower case")
    if "".join(asked.split()) == "".join(other.split()):
        return Kinship(1, "it differs by white space")
    if _is_other_family(asked, other):
        return Kinship(2, "it has the same end after another prefix")
    edits = edits_between(asked, other)
    if edits is not None and edits < min(len(asked), len(other)):
        return Kinship(2 + edits, f"it differs by {'one character' if edits == 1 else 'two characters'}")
    alike = common_length(asked, other)
    if alike >= 3 and alike * 2 >= len(asked):
        return Kinship(5, f"it begins alike, with {asked[:alike]!r}")
    return None


def families_of(key: str) -> tuple[str, str]:
    """All up to the key's first separator, and up to its last, each with it; empty without one."""
    places = [place for place, char in enumerate(key) if char in _SEPARATORS]
    return (key[: places[0] + 1], key[: places[-1] + 1]) if places else ("", "")


def _is_other_family(asked: str, other: str) -> bool:
    endings = {asked.removeprefix(family) for family in (*families_of(asked), "")}
    endings &= {other.removeprefix(family) for family in (*families_of(other), "")}
    return any(endings)


def spellings(asked: str, families: set[str]) -> list[str]:
    """Other ways to write the key, likeliest first: case, white space, a character too much, two
    swapped, the families of the keys that there are."""
    found = [asked.lower(), asked.upper(), asked.title(), asked.capitalize(), asked.swapcase()]
    found += [asked.strip(), asked.rstrip(_SEPARATORS), f"{asked}/"]
    endings = {own: asked.removeprefix(own) for own in (*families_of(asked), "")}
    for own, ending in endings.items():
        found += [ending, own.lower() + ending, own.upper() + ending, own.title() + ending]
        found += [own + ending.lower(), own + ending.upper(), own + ending.capitalize()]
    if len(asked) <= _SHORT_KEY:
        places = range(len(asked))
        found += [asked[:place] + asked[place + 1 :] for place in places]
        found += [
            asked[:place] + asked[place + 1] + asked[place] + asked[place + 2 :] for place in places[:-1]
        ]
    found += [family + ending for ending in endings.values() for family in sorted(families)]
    return [key for key in dict.fromkeys(found) if key not in (asked, "")]


def edits_between(one: str, other: str, most: int = _MAX_EDITS) -> int | None:
    """How many characters have to be put in, left out, replaced or swapped with their neighbour, if
    at most `most`."""
    if abs(len(one) - len(other)) > most:
        return None
    start = common_length(one, other)
    one, other = one[start:], other[start:]
    end = common_length(one[::-1], other[::-1])
    one, other = one[: len(one) - end], other[: len(other) - end]
    if not one or not other:
        return len(one) + len(other)
    if most == 0:
        return None
    changes = [(one[1:], other), (one, other[1:]), (one[1:], other[1:])]
    if one[:2] == other[1::-1]:
        changes.append((one[2:], other[2:]))
    edits_after = [edits_between(*change, most - 1) for change in changes]
    return min((edits + 1 for edits in edits_after if edits is not None), default=None)


def common_length(one: str, other: str) -> int:
    """How many characters both begin with; by halving, since keys in one index begin alike for long."""
    if one[:1] != other[:1]:
        return 0
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
