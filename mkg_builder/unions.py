"""Clusters: which names stand for one thing, when pairs or groups of them do."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

Pair = tuple[str, str]
"""Two names, the smaller first."""


def clusters(groups: Iterable[Sequence[str]], apart: Iterable[Pair] = ()) -> dict[str, str]:
    """Name -> the smallest name of its cluster, where groups that share a name are one cluster.

    Args:
        groups: each of one thing's names. With `apart` their order matters.
        apart: names that are never of one cluster; what would join two of them does not.
    """
    parent: dict[str, str] = {}
    foes: dict[str, set[str]] = defaultdict(set)
    for one, other in apart:
        foes[one].add(other)
        foes[other].add(one)

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = name = parent[above]
        return name

    for group in groups:
        for name in group:
            one, other = sorted((root(group[0]), root(name)))
            if foes and any(root(foe) == other for foe in foes.get(one, ())):
                continue
            parent[other] = one  # the smaller name is the root, whatever the order of the groups
            if one != other and other in foes:
                foes[one] |= foes.pop(other)
    return {name: root(name) for name in parent}
