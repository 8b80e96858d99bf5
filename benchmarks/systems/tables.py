"""What was measured as Markdown: ratios first, then seconds, memory, the machine's rate, and the way to an MRR."""

from collections.abc import Iterable, Sequence
from typing import Any

Found = dict[str, Any]
"""Of one configuration: each system's answer, by its name; of ours the median of before and after."""

PEERS = ("official", "PyKEEN")
NOTHING = "–"


def markdown(report: Found) -> str:
    """The whole report."""
    rows: dict[str, Found] = report["configurations"]
    parts = [heading(report), ratios(rows), seconds(rows), memory(rows), rates(rows)]
    if report["race"]:
        parts.append(race(report["race"]))
    return "\n\n".join([*parts, "\n".join(f"* {note}" for note in report["notes"])])


def heading(report: Found) -> str:
    """What, where, when, with which versions."""
    about = report["about"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return (
        f"{about['graph']}, {about['work']}\n\n{about['machine']}, {about['threads']} threads, {about['date']}; "
        f"{versions}; load average {about['load_before']:.1f} before, {about['load_after']:.1f} after"
    )


def ratios(rows: dict[str, Found]) -> str:
    """How many times longer the peers take."""
    lines = [
        [
            name,
            *(ratio(found, peer, what) for what in ("epoch_seconds", "validation_seconds") for peer in PEERS),
            number(found["ours"].get("drift"), "{:.2f}"),
        ]
        for name, found in rows.items()
    ]
    columns = [f"{what}: {peer} / ours" for what in ("epoch", "validation") for peer in PEERS]
    return table(["times as long", *columns, "ours after / before"], lines)


def ratio(found: Found, peer: str, what: str) -> str:
    """A peer's seconds by ours."""
    theirs, mine = found[peer].get(what), found["ours"].get(what)
    return f"**{theirs / mine:.3g}**" if theirs and mine else NOTHING


def seconds(rows: dict[str, Found]) -> str:
    """Seconds of an epoch without its validation, and of one validation."""
    columns = {f"{what}: {s}": (s, f"{what}_seconds") for what in ("epoch", "validation") for s in ("ours", *PEERS)}
    return table(["seconds", *columns], cells(rows, columns.values(), "{:.3g}"))


def memory(rows: dict[str, Found]) -> str:
    """Peak resident memory of the process."""
    peaks = {"training": "training_peak_mib", "with validation": "peak_mib"}
    columns = {f"{what}: {s}": (s, key) for what, key in peaks.items() for s in ("ours", *PEERS)}
    return table(["peak memory, MiB", *columns], cells(rows, columns.values(), "{:,.0f}"))


def cells(rows: dict[str, Found], keys: Iterable[tuple[str, str]], pattern: str) -> list[list[str]]:
    """A line of each configuration: its name, and what systems answered for keys."""
    wanted = list(keys)
    return [[name, *(number(found[s].get(key), pattern) for s, key in wanted)] for name, found in rows.items()]


def rates(rows: dict[str, Found]) -> str:
    """How fast our validation is, and a matrix product of its shapes in the same process."""
    lines = []
    for name, found in rows.items():
        reached, machine = found["ours"].get("evaluation_gflops"), found["ours"].get("machine_gflops")
        if reached:
            lines.append([name, f"{reached:.0f}", f"{machine:.0f}", f"**{reached / machine:.0%}**"])
    return table(["GFLOP/s", "our validation", "matrix product", "share"], lines)


def race(rows: Sequence[Found]) -> str:
    """How long each takes to one validation MRR."""
    lines = [
        [
            row["name"],
            str(row["race_epochs"]) if row.get("reached") else NOTHING,
            number(row.get("race_seconds"), "{:,.1f}"),
            number(row.get("times"), "**{:.3g}**"),
            row.get("refused") or row["how"],
        ]
        for row in rows
    ]
    return table([f"to a validation MRR of {rows[0]['target']:g}", "epochs", "seconds", "times ours", "how"], lines)


def number(value: float | None, pattern: str) -> str:
    """A number, or a dash."""
    return NOTHING if value is None else pattern.format(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, all but its first column aligned to the right."""
    lines = [columns, ["---", *("---:" for _ in columns[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
