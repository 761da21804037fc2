"""What the system leaves to this process: cores and memory; affinity is known to every engine."""

from __future__ import annotations

import math
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_MEMORY = Path("/proc/meminfo")


def cpu_quota(root: Path = _ROOT, own: Path = _OWN) -> int | None:
    """Cores that the control groups of this process allow it, rounded up; ``None`` for no limit.

    Version 2 (``cpu.max``) and 1 (``cpu.cfs_quota_us``), the least of the process's own group and
    those above it.
    """
    limits = [limit for folder in _groups(root, own) if (limit := _limit(folder)) is not None]
    return max(1, math.ceil(min(limits))) if limits else None


def free_memory(root: Path = _ROOT, own: Path = _OWN, memory: Path = _MEMORY) -> int | None:
    """Bytes that this process can still have; ``None`` where the system does not say (Linux does).

    The least of what is free or can be freed on the machine (``MemAvailable``) and of what each of
    its control groups leaves, version 2 (``memory.max``) or 1 (``memory.limit_in_bytes``).
    """
    free = [left for folder in _groups(root, own) if (left := _left(folder)) is not None]
    for line in _read(memory).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            free.append(int(value.split()[0]) * 1024)
    return max(0, min(free)) if free else None


def _groups(root: Path, own: Path) -> list[Path]:
    """Folders of the process's groups: in a container they are mostly the root itself."""
    folders = [root, root / "cpu", root / "cpu,cpuacct", root / "memory"]
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        base = root / controllers if controllers else root
        parts = Path(path.lstrip("/")).parts
        folders += [base.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    return folders


def _limit(folder: Path) -> float | None:
    """Cores, a fraction or more."""
    quota, _, period = _read(folder / "cpu.max").partition(" ")
    if not quota:
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or there is no such file
        return None
    return limit if limit > 0 else None  # version 1 says -1 for none


def _left(folder: Path) -> int | None:
    """Bytes; cached files that nobody has used lately are as good as free."""
    limit, used, cached = (_read(folder / f"memory.{name}") for name in ("max", "current", "stat"))
    name = "inactive_file"
    if not limit:
        limit, used = (_read(folder / f"memory.{n}_in_bytes") for n in ("limit", "usage"))
        name = "total_inactive_file"
    pages = dict(line.split(" ", 1) for line in cached.splitlines())
    try:
        return int(limit) - int(used) + int(pages.get(name, 0))
    except ValueError:  # "max", or there is no such file
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
