"""Users are divided into batches by the hash of their ids."""

from itertools import pairwise

import pytest

from resources.database.sync.sync_state import hashes_of_batch


@pytest.mark.parametrize("batches", [1, 7, 2000])
def test_batches_cover_all_hashes_without_an_overlap(batches: int):
    """A gap would leave its users out of every sync without a word."""
    ranges = [hashes_of_batch(number, batches) for number in range(batches)]

    assert (ranges[0][0], ranges[-1][1]) == (-(2**63), 2**63 - 1)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))
