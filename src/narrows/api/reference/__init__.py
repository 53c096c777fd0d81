"""The page of the API reference and the words and examples it is made of."""

from __future__ import annotations


def page(document: bytes) -> bytes:
    """The reference page of an OpenAPI document."""
    from narrows.api.reference.markup import render  # noqa: PLC0415 -- only who looks at the page pays for it

    return render(document)
