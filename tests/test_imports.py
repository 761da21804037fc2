from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "bert4keras", "tf_keras", "keras", "openvino", "faiss", "apsw", "numpy")
EXTRAS = ("ray", "pymilvus", "milvus_lite", "pyarrow", "fastapi", "langchain_core")
# --help answers at once; pydantic, rich and yaml alone would double its time
SLOW = (*HEAVY, *EXTRAS, "pydantic", "rich", "yaml", "tokenizers")


def imported_by(code: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the ``watched`` modules a fresh interpreter has imported after ``code``."""
    code += f"\nimport sys; print(*[m for m in {watched!r} if m in sys.modules], file=sys.stderr)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    return ran.stderr.splitlines()[-1].split()


def test_the_rooms_keep_their_contracts() -> None:
    code = "from importlinter.cli import lint_imports_command as lint; lint()"
    config = str(ROOT / "pyproject.toml")
    ran = subprocess.run(
        [sys.executable, "-c", code, "--config", config, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " kept, 0 broken" in ran.stdout


@pytest.mark.parametrize("module", ["simsearch", "simsearch.cli"])
def test_importing_the_package_imports_nothing_slow(module: str) -> None:
    assert imported_by(f"import {module}", SLOW) == []


@pytest.mark.parametrize("arguments", [["--help"], ["query", "--help"], ["qery"], ["--version"]])
def test_help_and_a_mistyped_command_answer_without_importing_anything_slow(
    arguments: list[str],
) -> None:
    code = (
        "import sys\nfrom simsearch.cli import main\n"
        f"sys.argv = ['simsearch', *{arguments!r}]\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert imported_by(code, SLOW) == []


def test_the_watch_sees_what_is_imported() -> None:
    assert imported_by("import simsearch.config", SLOW) == ["pydantic", "yaml"]
    assert imported_by("import simsearch; simsearch.Hit", SLOW) == []
    assert "numpy" in imported_by("import simsearch; simsearch.Whitening", SLOW)


def test_extras_are_imported_where_they_are_used() -> None:
    assert (
        imported_by("import simsearch.pipeline, simsearch.milvus, simsearch.cluster", EXTRAS) == []
    )


@pytest.mark.parametrize(
    ("package", "code", "extra"),
    [
        ("ray", "from simsearch.cluster import connected\nwith connected(): pass", "ray"),
        ("pymilvus", "import simsearch\nsimsearch.open_milvus('http://localhost')", "milvus"),
    ],
)
def test_an_extra_that_is_missing_is_named(package: str, code: str, extra: str) -> None:
    code = f"import sys\nsys.modules[{package!r}] = None\n{code}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"install it: pip install 'simsearch[{extra}]'" in ran.stderr.splitlines()[-1]
