from hypothesis import given
from hypothesis import strategies as st

from mkg_builder.unions import clusters

groups = st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=8)


@given(groups)
def test_groups_that_share_a_name_are_one_cluster_under_its_smallest_name(given_groups: list[list[str]]) -> None:
    sets = [set(group) for group in given_groups]
    for name in "abcdefgh":
        reached = {name}
        while more := {other for group in sets if group & reached for other in group} - reached:
            reached |= more
        if any(name in group for group in sets):
            assert clusters(given_groups)[name] == min(reached)


@given(groups, st.randoms())
def test_the_order_of_groups_does_not_matter(given_groups: list[list[str]], dice) -> None:
    shuffled = [sorted(group, key=lambda _: dice.random()) for group in given_groups]
    dice.shuffle(shuffled)
    assert clusters(shuffled) == clusters(given_groups)
