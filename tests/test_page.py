"""The page in a real browser, which is the system's: Debian's package is called chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright
from test_server import READ, started

import simsearch

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

RESULT = {
    "task": "pairs/dev.tsv",
    "model": "zhen-small",
    "pooling": "mean",
    "metrics": {"spearman": 0.81},
    "intervals": {"spearman": [0.79, 0.83]},
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    corpus = folder / "faq.jsonl"
    rows = [
        {"id": "1", "text": "张三请李四吃饭。", "language": "zh"},
        {"id": "2", "text": "<b>The dog</b> bit the man.", "language": "en", "page": 3},
        {"id": "3", "text": "今天天气很好。", "language": "zh"},
    ]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    index = simsearch.build(corpus, folder / "index").folder
    (folder / "results.jsonl").write_text(json.dumps(RESULT) + "\n", "utf-8")
    process, at = started(index, "--report", str(folder), SIMSEARCH_READ_TOKEN=READ)
    yield at
    process.terminate()
    process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox"],  # as root, in containers
        )
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page in English, after the token was asked for; no script may fail on it."""
    context = browser.new_context(locale="en-US", color_scheme="dark")
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.goto(address)
    dialog = opened.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Token for reading").fill(READ)
    dialog.get_by_role("button", name="OK").click()
    expect(opened.get_by_text("3 documents")).to_be_visible()
    yield opened
    context.close()
    assert problems == []


def accessible(page: Page) -> list[str]:
    return [violation["id"] for violation in Axe().run(page).response["violations"]]


def test_search_with_the_keyboard_alone(page: Page) -> None:
    page.locator("h1").click()  # away from the field
    page.keyboard.press("/")
    page.keyboard.type("谁请谁吃饭？")
    page.keyboard.press("Enter")
    hits = page.locator("#results > li")
    expect(hits).to_have_count(3)
    expect(hits.first).to_contain_text("张三请李四吃饭。")
    expect(hits.first).to_contain_text(re.compile(r"0\.\d{3}"))
    assert accessible(page) == []


def test_texts_are_texts(page: Page) -> None:
    page.get_by_label("Query").fill("a dog <script>alert(1)</script>")
    page.get_by_label("Filter (JSON)").fill('{"page": {"$gte": 2}}')
    page.get_by_role("button", name="Search").click()
    hits = page.locator("#results > li")
    expect(hits).to_have_count(1)
    expect(hits.locator(".hit-text")).to_have_text("<b>The dog</b> bit the man.")
    expect(hits.locator(".hit-text b")).to_have_count(0)
    expect(hits.locator("dl")).to_have_text("languageenpage3")


def test_a_bad_filter_is_told(page: Page) -> None:
    page.get_by_label("Query").fill("a dog")
    page.get_by_label("Filter (JSON)").fill("{")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#search-status")).to_contain_text("The filter is not JSON")
    page.get_by_label("Filter (JSON)").fill('{"page": {"$where": 1}}')
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#search-status")).to_contain_text("$where")


def test_same_words_in_another_order_are_warned_of_and_explained(page: Page) -> None:
    page.get_by_label("Query").fill("李四请张三吃饭。")
    page.get_by_label("Check word order").check()
    page.keyboard.press("Enter")
    hit = page.locator("#results > li").filter(has_text="张三请李四吃饭。")
    expect(hit.locator(".warning")).to_contain_text("Same words, other order", timeout=60_000)
    hit.get_by_role("button", name="Which words matched?").click()
    expect(hit.get_by_role("row", name="李 李")).to_be_visible()
    assert accessible(page) == []


def test_compare(page: Page) -> None:
    page.get_by_role("tab", name="Search").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_label("First text").fill("张三请李四吃饭。")
    page.get_by_label("Second text").fill("李四请张三吃饭。")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("row", name="static_mean 1.000")).to_be_visible(timeout=60_000)
    heat = page.get_by_role("table", name="Token by token")
    expect(heat.locator("td.best")).to_have_count(8)
    # 张 is nearest to itself, which is the fourth token of the other sentence
    expect(heat.locator("tbody tr").first.locator("td").nth(3)).to_have_class("best")
    assert accessible(page) == []


def test_benchmark(page: Page) -> None:
    page.get_by_role("tab", name="Benchmark").click()
    expect(page.get_by_role("row", name="zhen-small mean 0.810 (0.790–0.830)")).to_be_visible()
    assert accessible(page) == []


def test_languages_and_colours(page: Page) -> None:
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("tab", name="比较")).to_be_visible()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="浅色／深色").click()
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (before, after) == ("rgb(22, 24, 27)", "rgb(251, 251, 250)")
    page.reload()
    expect(page.get_by_role("tab", name="比较")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_on_a_phone_nothing_sticks_out(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_label("Query").fill("今天天气")
    page.keyboard.press("Enter")
    expect(page.locator("#results > li")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
