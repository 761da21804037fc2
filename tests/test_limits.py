from __future__ import annotations

from pathlib import Path

import pytest

from simsearch.limits import cpu_quota, free_memory


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({}, "0::/\n", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 2),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        # the least of its own group and those above
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 3),
        ({"a/cpu.max": "300000 100000", "a/b/cpu.max": "200000 100000"}, "0::/a/b\n", 2),
        ({"other/cpu.max": "100000 100000"}, "0::/a\n", None),
        # version 1
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "", None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, "", 4),
        (
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            "4:cpu,cpuacct:/x\n3:memory:/x\n",
            3,
        ),
        ({"cpu.max": "nonsense"}, "0::/\n", None),
        ({"cpu.max": "100000 0"}, "0::/\n", None),
    ],
)
def test_the_quota_of_control_groups(tmp_path: Path, files, own: str, cores: int | None) -> None:
    (tmp_path / "self").write_text(own)
    root = write(tmp_path / "cgroup", files)
    assert cpu_quota(root, tmp_path / "self") == cores


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path / "none either") is None


@pytest.mark.parametrize(
    ("files", "own", "free"),
    [
        ({}, "0::/\n", None),
        ({"meminfo": "MemTotal: 90 kB\nMemAvailable:      40 kB\nCached: 3 kB\n"}, "", 40960),
        ({"memory.max": "max\n", "memory.current": "5"}, "0::/\n", None),
        ({"memory.max": "900\n", "memory.current": "500\n"}, "0::/\n", 400),
        ({"memory.max": "900", "memory.current": "950"}, "0::/\n", 0),
        (
            {
                "memory.max": "900",
                "memory.current": "500",
                "memory.stat": "anon 300\ninactive_file 150\nactive_file 50",
            },
            "0::/\n",
            550,
        ),
        # the least of its own group, those above, and the machine
        (
            {
                "a/memory.max": "2000",
                "a/memory.current": "1500",
                "a/b/memory.max": "700",
                "a/b/memory.current": "100",
                "meminfo": "MemAvailable: 1 kB",
            },
            "0::/a/b\n",
            500,
        ),
        # version 1
        (
            {
                "memory/x/memory.limit_in_bytes": "800",
                "memory/x/memory.usage_in_bytes": "500",
                "memory/x/memory.stat": "total_inactive_file 100",
            },
            "3:memory:/x\n",
            400,
        ),
    ],
)
def test_the_memory_that_is_left(tmp_path: Path, files, own: str, free: int | None) -> None:
    (tmp_path / "self").write_text(own)
    root = write(tmp_path / "cgroup", files)
    assert free_memory(root, tmp_path / "self", root / "meminfo") == free
