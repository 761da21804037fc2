"""The documentation: what it tells to run runs, and what it links to is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN = ["tutorials/build", "tutorials/query", "tutorials/benchmark", "troubleshooting"]


class Block(NamedTuple):
    language: str
    title: str
    code: str
    heading: str


def blocks(page: Path) -> list[Block]:
    """The code of a page, each with the heading that it stands under."""
    found, heading = [], ""
    pattern = r'^(?:#+ ([^\n]+)|```(\w+)(?: title="([^\n"]+)")?\n(.*?)^```)$'
    for match in re.finditer(pattern, page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append(Block(match[2], match[3] or "", match[4], heading))
    return found


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    bin_folder = str(Path(sys.executable).parent)
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    if block.language == "python":
        command = [sys.executable, "-c", block.code]
    path = os.pathsep.join([bin_folder, os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8", check=False
    )


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a Unix shell")
@pytest.mark.parametrize("name", RUN)
def test_what_a_page_tells_to_run_does_what_it_says(name: str, tmp_path: Path) -> None:
    told = blocks(DOCS / f"{name}.md")
    assert len(told) >= 3
    for block in told:
        done = run(block, tmp_path)
        if block.title == "fails":
            assert done.returncode == 2, block.code
            assert block.heading in done.stderr
            assert "Traceback" not in done.stderr
        else:
            assert done.returncode == 0, f"{block.code}\n{done.stderr}"


@pytest.mark.parametrize("name", RUN)
def test_the_chinese_page_has_the_same_code(name: str) -> None:
    english, chinese = (blocks(DOCS / f"{name}{suffix}.md") for suffix in ("", ".zh-CN"))
    assert [block[:3] for block in chinese] == [block[:3] for block in english]


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("recipes/*/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)", text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), f"{page}: {target}"
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert anchor in {slug(heading) for heading in headings}, f"{page}: {target}#{anchor}"


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def test_every_page_of_the_site_is_in_both_languages() -> None:
    listed = re.findall(r"([\w/-]+)\.md", (ROOT / "mkdocs.yml").read_text("utf-8"))
    only_english = {"index-folder", "decisions/README", "reference/cli"}
    missing = [n for n in listed if not (DOCS / f"{n}.zh-CN.md").is_file()]
    assert set(missing) == only_english
