"""The table of faults names tests and scripts that exist."""

import re

from tests.conftest import ROOT

TABLE = (ROOT / "benchmarks" / "FAULTS.md").read_text()


def test_every_test_that_the_table_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TABLE)
    assert len(named) > 100
    missing = [f"{file}::{test}" for file, test in named if f"\ndef {test}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []


def test_every_script_that_the_table_names_exists_and_knows_its_options() -> None:
    named = re.findall(r"`((?!test_)\w+\.py)([^`:]*)`", TABLE)
    assert len(named) > 8
    for file, options in named:
        script = (ROOT / "benchmarks" / file).read_text()
        assert [option for option in re.findall(r"--\w+", options) if f'"{option}"' not in script] == []


def test_every_case_of_this_side_is_in_the_table() -> None:
    cases = [int(number) for number in re.findall(r"^\| (\d+) \|", TABLE, re.MULTILINE)]
    assert cases == [*range(1, 55), *range(64, 69)]
