from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import faults
import pytest
from test_store import ENCODER, Row, build

from simsearch.search import Searcher
from simsearch.store import StoredIndex

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")


def run(*arguments: str) -> dict[str, tuple[int, list[int]]]:
    """What the script says: for each verb how many faults there were, and in how many states."""
    script = Path(faults.__file__)
    ran = subprocess.run(
        [sys.executable, script, *arguments],
        # threads don't outlive a fork, and OpenMP waits for them
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    found = {}
    for line in ran.stdout.splitlines():
        verb, count, counts = line.split(" ", 2)
        found[verb] = (int(count), [int(n) for n in counts.strip("[]").split(", ")])
    return found


def test_killed_at_any_step_the_index_opens_and_the_verb_goes_on() -> None:
    found = run("kill", "--every", "9")
    assert set(found) == set(faults.VERBS)
    for verb, (kills, states) in found.items():
        assert kills == sum(states)
        assert kills > (2 if verb == "delete" else 8)
        assert states[0] > 0  # nothing of it yet


def test_killed_at_random_moments_it_is_the_same() -> None:
    assert run("random", "--count", "8")["random"][0] == 8


def test_a_byte_that_changes_is_found_or_has_no_consequence() -> None:
    count, (refused, harmless) = run("flip", "--count", "40")["flip"]
    assert refused + harmless == count
    assert refused > 25


def test_where_nothing_can_be_written_the_index_stays_as_it_is() -> None:
    found = run("full", "--every", "24")
    for kills, (well, *states) in found.values():
        assert kills == well + sum(states)
        assert states[0] > 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root becomes another")
def test_without_permission_the_index_stays_as_it_is() -> None:
    found = run("permission")
    assert list(found.values()) == [(1, [0])] * 4


WRITER = """
import sys
from pathlib import Path
from test_changes import add, delete, row
folder = Path(sys.argv[1])
for version in range(1, 40):
    add(folder, [row(id_, f"{'abc'[version % 3]} v{version}") for id_ in "xyz"])
    if version % 5 == 0:
        delete(folder, "x", "y", "z")
        faults.optimize(folder)
"""


def test_readers_see_one_commit_or_another_while_a_process_writes(tmp_path: Path) -> None:
    folder = tmp_path / "索 引"
    build(folder, [Row(Path("c"), n, id_, "a v0", {}) for n, id_ in enumerate("xyz")])
    code = WRITER.replace("import sys", "import faults, sys", 1)
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    writer = subprocess.Popen(
        [sys.executable, "-c", code, folder], env={**os.environ, "PYTHONPATH": paths}
    )
    seen = []
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        while writer.poll() is None:
            seen.append({hit.text for hit in searcher.query("a", k=10)})
            with Searcher(ENCODER, StoredIndex.open(folder)) as fresh:
                seen.append({hit.text for hit in fresh.query("b", k=10)})
    assert writer.wait() == 0
    assert all(len(texts) <= 1 for texts in seen)
    versions = [int(text.split("v")[1]) for texts in seen for text in texts]
    assert versions == sorted(versions)
    assert len(set(versions)) > 3
