"""Clusters: which names stand for one thing, when pairs or groups of them do."""

from collections.abc import Iterable, Sequence


def clusters(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Name -> the smallest name of its cluster, where groups that share a name are one cluster."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = name = parent[above]
        return name

    for group in groups:
        for name in group:
            one, other = sorted((root(group[0]), root(name)))
            parent[other] = one  # the smaller name is the root, whatever the order of the groups
    return {name: root(name) for name in parent}
