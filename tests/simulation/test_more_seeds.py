"""The second half of the fresh seeds: a file of its own, so that two workers share them."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import campaign
from tests.simulation.test_simulation import CHUNKS, SEEDS_A_CHUNK


@pytest.mark.parametrize("chunk", range(CHUNKS, CHUNKS + 4))
def test_more_fresh_seeds_break_no_promise(chunk: int, simulation_base_seed: int) -> None:
    total = campaign(simulation_base_seed + chunk * SEEDS_A_CHUNK, SEEDS_A_CHUNK)
    assert total["seeds"] == SEEDS_A_CHUNK
