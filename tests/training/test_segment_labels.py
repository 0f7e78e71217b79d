from __future__ import annotations

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.segment_labels import SAME_SEGMENT, keep_numbers


def overlap(clusters, previous, new, old):
    both = np.sum((clusters == new) & (previous == old))
    return both / max(np.sum((clusters == new) | (previous == old)), 1)


def test_the_first_clustering_is_numbered_from_one():
    found = keep_numbers(np.array([0, 1, 2, 1]), 3, None)
    assert (found.numbers, found.highest, found.kept_share) == ((1, 2, 3), 3, 1.0)


def test_the_same_clusters_in_another_order_keep_their_numbers():
    previous = np.repeat([3, 1, 2], 20)
    found = keep_numbers(np.repeat([2, 0, 1], 20), 3, previous, 3)
    assert (found.numbers, found.highest, found.kept_share) == ((1, 2, 3), 3, 1.0)


def test_a_cluster_that_split_off_gets_a_number_that_nobody_ever_had():
    previous = np.repeat([1, 2], 30)
    clusters = np.array([0] * 30 + [1] * 20 + [2] * 10)
    found = keep_numbers(clusters, 3, previous, highest=7)
    assert found.numbers == (1, 2, 8)
    assert (found.highest, found.kept_share) == (8, 50 / 60)


def test_a_number_that_fell_free_is_not_given_again():
    first = keep_numbers(np.repeat([0, 1, 2], 10), 3, None)
    merged = keep_numbers(np.repeat([0, 1, 1], 10), 2, np.repeat(first.numbers, 10), first.highest)
    assert merged.numbers[0] == 1
    back = keep_numbers(np.repeat([0, 1, 2], 10), 3, np.repeat([1, *merged.numbers[1:], 9], 10)[:30], 9)
    assert max(back.numbers) <= back.highest
    assert merged.highest >= first.highest


def test_what_shares_less_than_half_is_another_segment():
    previous = np.array([1] * 10 + [2] * 10)
    clusters = np.array([0] * 5 + [1] * 5 + [0] * 5 + [1] * 5)
    found = keep_numbers(clusters, 2, previous, 2)
    assert found.numbers == (3, 4)
    assert found.kept_share == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=8, max_size=60))
def test_the_matching_has_the_greatest_total_overlap_of_all(pairs):
    clusters, previous = np.array(pairs).T
    found = keep_numbers(clusters, 4, previous, 4)
    assert len(set(found.numbers)) == 4
    kept = {new: old for new, old in enumerate(found.numbers) if old <= 4}
    total = sum(overlap(clusters, previous, new, old) for new, old in kept.items())
    assert all(overlap(clusters, previous, new, old) >= SAME_SEGMENT for new, old in kept.items())
    best = max(
        (sum(overlap(clusters, previous, new, old) for new, old in enumerate(order)), order)
        for order in permutations(range(1, 5))
    )
    best_kept = [overlap(clusters, previous, new, old) for new, old in enumerate(best[1])]
    # Of several best matchings any will do; where all of it is kept, its total is the best one's.
    if min(best_kept) >= SAME_SEGMENT:
        assert abs(total - best[0]) < 1e-9
