"""Faults that are really made: processes killed at any step, and files that change by themselves.

A step is whatever reaches the disk: each write, sync, truncation and removal by SQLite, each file
that is opened, renamed or removed by Python. Run as a script, one line a verb::

    python tests/faults.py kill                   at every step: steps, and how often each state
    python tests/faults.py random --count 1000    at random moments
    python tests/faults.py full                   where files can't grow beyond 0, 1, 2, … KiB
    python tests/faults.py flip --count 2000      of a byte: refused, and without consequence
    python tests/faults.py permission             where nothing may be written; for root
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import test_store
from test_store import ENCODER, Row, build

from simsearch.config import MODES
from simsearch.corpus import content_id
from simsearch.errors import (
    IndexNotFoundError,
    SimsearchError,
    StoreError,
    UnfinishedIndexError,
)
from simsearch.search import Searcher
from simsearch.store import IndexEditor, IndexKeeper, StoredIndex, verify

_BASE = apsw.vfs_names()[0]  # that of the system: SQLite's default comes first
CORPUS = Path("corpus")
OLD = [Row(CORPUS, n, f"o{n}", text, {"n": n}) for n, text in enumerate(test_store.TEXTS)]
NEW = [
    Row(CORPUS, 1, "o1", "cab", {}),  # another text
    Row(CORPUS, 2, "o2", "b", {"n": 9}),  # other metadata
    *(Row(CORPUS, 3 + n, f"n{n}", text, {}) for n, text in enumerate(["bb", "c", "a a", "ccc"])),
]
Documents = dict[str, tuple[str, dict[str, Any]]]


def build_old(folder: Path) -> None:
    build(folder, OLD)


def add_new(folder: Path) -> None:
    with IndexEditor.open(folder) as editor:
        editor.stage(NEW, on_error="stop")
        for batch in editor.batches(None, size=3):
            editor.commit(batch, ENCODER.encode(batch.texts))


def delete_some(folder: Path) -> None:
    with IndexEditor.open(folder) as editor:
        editor.delete(["o0", "o5", "o9", "nobody"])


def optimize(folder: Path) -> None:
    with IndexKeeper.open(folder) as keeper:
        keeper.optimize()


def repair(folder: Path) -> None:
    with IndexKeeper.open(folder) as keeper:
        keeper.repair(ENCODER.encode)


def nothing(folder: Path) -> None:
    """No index yet."""


def changed(folder: Path) -> None:
    build_old(folder)
    add_new(folder)
    delete_some(folder)


def damaged(folder: Path) -> None:
    changed(folder)
    segment = min(folder.glob("vectors-*"))
    segment.write_bytes(segment.read_bytes()[:-1])


VERBS: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "build": (nothing, build_old),
    "add": (build_old, add_new),
    "delete": (build_old, delete_some),
    "optimize": (changed, optimize),
    "repair": (damaged, repair),
}
"""Each verb: what makes the folder that it begins with, and the verb."""


class Countdown:
    """Kills the process at the given step; before it is set it counts nothing."""

    def __init__(self) -> None:
        self.left = 0
        self._vfs = _StepVFS(self)  # known to SQLite as long as it lives
        sys.addaudithook(self._audit)

    def step(self) -> None:
        if self.left:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate"):
            self.step()


class _StepVFS(apsw.VFS):
    """SQLite's own file system, counting. The checksums' is put on top when the store loads it."""

    def __init__(self, countdown: Countdown) -> None:
        self.countdown = countdown
        super().__init__("steps", _BASE, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _StepFile(self.countdown, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.countdown.step()
        super().xDelete(filename, syncdir)


class _StepFile(apsw.VFSFile):
    def __init__(self, countdown: Countdown, name: Any, flags: list[int]) -> None:
        self.countdown = countdown
        super().__init__(_BASE, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.countdown.step()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self.countdown.step()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self.countdown.step()
        super().xTruncate(size)


def documents(folder: Path) -> Documents | str:
    """What can be found in the index, or why there is none."""
    try:
        stored = StoredIndex.open(folder)
    except IndexNotFoundError:
        return "none"
    except UnfinishedIndexError:
        return "unfinished"
    found: Documents = {}
    with stored:
        for row, number in enumerate(stored.chunks.documents.tolist()):
            if number not in stored.deleted:
                document = stored.passages([row])[0].document
                assert document.id not in found, f"{document.id} is there twice"
                found[document.id] = (document.text, dict(document.metadata))
    return found


def vectors(folder: Path) -> dict[str, bytes]:
    """The bytes of each document's vector."""
    with StoredIndex.open(folder) as stored:
        rows = [
            (row, number)
            for row, number in enumerate(stored.chunks.documents.tolist())
            if number not in stored.deleted
        ]
        everything = b"".join(segment.tobytes() for segment in stored.segments)
        size = stored.dim * 4
        ids = stored.ids([number for _, number in rows])
    return {
        id_: everything[row * size : (row + 1) * size]
        for id_, (row, _) in zip(ids, rows, strict=True)
    }


def states(verb: str) -> list[Documents | str]:
    """What the folder may hold when the verb is killed, each a commit further than the last."""
    old: Documents = {row.id or content_id(row.text): (row.text, row.metadata) for row in OLD}
    added = [old]
    for start in (0, 3):
        more = {str(row.id): (row.text, row.metadata) for row in NEW[start : start + 3]}
        added.append({**added[-1], **more})
    kept = [{k: v for k, v in d.items() if k not in ("o0", "o5", "o9")} for d in (old, added[-1])]
    allowed: dict[str, list[Documents | str]] = {
        "build": ["none", "unfinished", old],
        "add": [*added],
        "delete": [old, kept[0]],
        "optimize": [kept[1]],
        "repair": [kept[1]],
    }
    return allowed[verb]


def killed_at(countdown: Countdown, verb: str, start: Path, folder: Path, step: int) -> bool:
    """Run the verb in a child that is killed at this step; false if it ended before."""
    shutil.copytree(start, folder)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            countdown.left = step
            VERBS[verb][1](folder)
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"{verb}, killed at step {step}: status {status}"
    return status != 0


def check(verb: str, folder: Path, expected: dict[str, bytes]) -> int:
    """Check a folder whose writer was killed, go on, and check again; which state it was in."""
    allowed = states(verb)
    if verb == "repair":
        try:
            found = documents(folder)
        except Exception:
            found = allowed[0]  # still damaged
    else:
        found = documents(folder)
    assert found in allowed, f"{verb}: {found}"
    VERBS[verb][1](folder)
    assert documents(folder) == allowed[-1]
    assert vectors(folder) == expected
    assert list(verify(folder)) == []
    left = {path.name for path in folder.iterdir()}
    assert not any(name.startswith(("ingest", "building")) or ".tmp" in name for name in left), left
    return allowed.index(found)


def kill_at_every_step(countdown: Countdown, verb: str, root: Path, every: int) -> list[int]:
    """Kill the verb at its steps, one after the other, until it gets through; the states seen."""
    start = root / "开 始"
    start.mkdir()
    VERBS[verb][0](start)
    done = root / "完 成"
    shutil.copytree(start, done)
    VERBS[verb][1](done)
    expected = vectors(done)
    seen = []
    step = 1
    while killed_at(countdown, verb, start, root / str(step), step):
        seen.append(check(verb, root / str(step), expected))
        shutil.rmtree(root / str(step))
        step += every
    return seen


def refused(verb: str, root: Path, hinder: Callable[[Path], None]) -> int | None:
    """Run the verb in a child that ``hinder`` keeps from writing; which state it left.

    ``None`` where it ended well all the same. What it says must be an error of ours.
    """
    start, folder, done = root / "开 始", root / "索 引", root / "完 成"
    start.mkdir()
    VERBS[verb][0](start)
    for copy in (folder, done):
        shutil.copytree(start, copy)
    VERBS[verb][1](done)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            hinder(folder)
            VERBS[verb][1](folder)
            status = 0
        except StoreError:
            status = 2
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 2), f"{verb}: status {status}"
    for path in (folder, *folder.iterdir()):
        path.chmod(0o700)
    state = check(verb, folder, vectors(done))
    return None if status == 0 else state


def full_disk(size: int) -> Callable[[Path], None]:
    """No file may grow beyond so many bytes, as if the disk were full."""

    def hinder(folder: Path) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return hinder


def no_permission(folder: Path) -> None:
    """Nothing in the folder may be written by this user, who isn't root."""
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
        path.chmod(0o500)
    for path in folder.parents:
        if os.access(path, os.W_OK) and path.stat().st_uid == os.getuid():
            path.chmod(path.stat().st_mode | 0o055)
    os.setuid(65534)


def kill_at_random(verb: str, root: Path, rng: random.Random) -> int:
    """Kill the verb's process after a random time; which state it left."""
    start, folder, done = root / "开 始", root / "索 引", root / "完 成"
    start.mkdir()
    VERBS[verb][0](start)
    shutil.copytree(start, folder)
    shutil.copytree(start, done)
    before = time.perf_counter()
    VERBS[verb][1](done)
    seconds = time.perf_counter() - before
    child = os.fork()
    if child == 0:
        VERBS[verb][1](folder)
        os._exit(0)
    time.sleep(rng.uniform(0, 1.2 * seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return check(verb, folder, vectors(done))


def answers(folder: Path) -> list[Any]:
    """What an index says in every mode and through a filter."""
    texts = ["a", "bb ab", "退款 new", "好"]
    with Searcher(ENCODER, StoredIndex.open(folder)) as searcher:
        found: list[Any] = [
            (hit.id, hit.score, hit.text, hit.truncated)
            for mode in MODES
            for hits in searcher.search(texts, 10, mode=mode)
            for hit in hits
        ]
        wanted = {"n": {"$gte": 10}, "even": True}
        return [*found, *(hit.id for hit in searcher.query("ab", 50, filter=wanted))]


def flip(root: Path, count: int, rng: random.Random) -> tuple[int, int]:
    """Change a byte of a file, ``count`` times; how often it was refused, and how often not."""
    folder = root / "索 引"
    shutil.copytree(Path(__file__).parent / "data" / "format-3", folder)
    expected, held = answers(folder), documents(folder)
    files = [path for path in sorted(folder.iterdir()) if path.stat().st_size]
    sizes = [path.stat().st_size for path in files]
    messages = []
    for path in rng.choices(files, sizes, k=count):
        content = path.read_bytes()
        altered = bytearray(content)
        place = rng.randrange(len(content))
        altered[place] = (altered[place] + rng.randrange(1, 256)) % 256
        path.write_bytes(altered)
        try:
            assert answers(folder) == expected, path
            assert documents(folder) == held, path
        except SimsearchError as error:
            messages.append(str(error))
        path.write_bytes(content)
    assert all(str(folder) in message for message in messages)
    return len(messages), count - len(messages)


def folders() -> Iterator[Path]:
    """New folders, each removed when the next is asked for."""
    while True:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Kill and hinder writers.")
    parser.add_argument("fault", choices=["kill", "random", "full", "permission", "flip"])
    parser.add_argument("--every", type=int, default=1, help="n: at each n-th step")
    parser.add_argument("--count", type=int, default=100, help="of random kills, and flips")
    given = parser.parse_args()
    roots = folders()
    if given.fault == "kill":
        countdown = Countdown()  # before the store uses SQLite
        for verb in VERBS:
            seen = kill_at_every_step(countdown, verb, next(roots), given.every)
            counts = [seen.count(state) for state in range(len(states(verb)))]
            sys.stdout.write(f"{verb} {len(seen)} {counts}\n")
        return
    if given.fault == "full":
        for verb in VERBS:
            sizes = range(0, 90_000, 1024 * given.every)
            found = [refused(verb, next(roots), full_disk(size)) for size in sizes]
            counts = [found.count(state) for state in (None, *range(len(states(verb))))]
            sys.stdout.write(f"{verb} {len(found)} {counts}\n")
        return
    if given.fault == "flip":
        found = flip(next(roots), given.count, random.Random(7))
        sys.stdout.write(f"flip {given.count} {[*found]}\n")
        return
    if given.fault == "permission":
        for verb in ("add", "delete", "optimize", "repair"):
            sys.stdout.write(f"{verb} 1 [{refused(verb, next(roots), no_permission)}]\n")
        return
    rng = random.Random(0)
    verbs = [rng.choice(list(VERBS)) for _ in range(given.count)]
    ended = [(verb, kill_at_random(verb, next(roots), rng)) for verb in verbs]
    sys.stdout.write(f"random {len(ended)} {len(set(ended))}\n")


if __name__ == "__main__":
    main()
