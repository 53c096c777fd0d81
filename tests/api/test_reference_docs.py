"""The generated pages of the reference say what the code says now."""

from __future__ import annotations

import pytest

from docs.reference.generate import FOLDER, PAGES, text_of


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text("utf-8") == text_of(name), "run `make docs`"
