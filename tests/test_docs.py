"""The documentation: what it tells to run runs, and what it links to is there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest
from shown_code import Reader, blocks

from simsearch.cli.commands import cli

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
RUN = ["tutorials/build", "tutorials/query", "tutorials/benchmark", "troubleshooting"]


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a Unix shell")
@pytest.mark.parametrize("name", RUN)
def test_what_a_page_tells_to_run_does_what_it_says(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    reader = Reader(monkeypatch, capsys)
    told = blocks(DOCS / f"{name}.md")
    assert len(told) >= 3
    for block in told:
        ran = reader.run(block)
        if block.title == "fails":
            assert ran.status == 2, block.code
            assert block.heading in ran.err
            assert "Traceback" not in ran.err
        else:
            assert ran.status == 0, f"{block.code}\n{ran.err}"


@pytest.mark.parametrize("name", RUN)
def test_the_chinese_page_has_the_same_code(name: str) -> None:
    english, chinese = (blocks(DOCS / f"{name}{suffix}.md") for suffix in ("", ".zh-CN"))
    assert [block[:3] for block in chinese] == [block[:3] for block in english]


PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *ROOT.glob("recipes/*/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_its_options_are_there(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # which files there are is the reader's business
    monkeypatch.setattr(click.Path, "convert", lambda _self, value, *_: Path(value))
    for block in blocks(page, "sh", "console"):
        for line in block.commands():
            _, name, *words = shlex.split(re.split(" [|<>] ", line)[0])
            cli.commands[name].make_context(name, words)  # raises click's UsageError


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
