"""Take the pictures of the page that the docs show.

    simsearch serve INDEX --report REPORT & python tools/screenshots.py http://127.0.0.1:8000

Needs the development requirements and the system's Chromium.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

_IMAGES = Path(__file__).parent.parent / "docs" / "images"
_LANGUAGES = {"en-US": "", "zh-CN": ".zh-CN"}


def take(browser: Browser, address: str, locale: str, suffix: str) -> None:
    """Search and compare, in one language."""
    context = browser.new_context(
        locale=locale,
        color_scheme="light" if locale == "en-US" else "dark",
        viewport={"width": 1000, "height": 640},
    )
    page = context.new_page()
    page.goto(address)
    page.fill("#query", "李四请张三吃饭。")
    page.check("#rerank")
    page.fill("#k", "5")
    page.press("#query", "Enter")
    page.wait_for_selector("#results li", timeout=60_000)
    page.screenshot(path=_IMAGES / f"page-search{suffix}.png")
    page.click("#tab-compare")
    page.fill("#text-a", "张三请李四吃饭。")
    page.fill("#text-b", "李四请张三吃饭。")
    page.click("#compare-form button")
    page.wait_for_selector("table.heat", timeout=60_000)
    page.screenshot(path=_IMAGES / f"page-compare{suffix}.png", full_page=True)
    context.close()


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("address")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for locale, suffix in _LANGUAGES.items():
            take(browser, options.address, locale, suffix)
        browser.close()


if __name__ == "__main__":
    main()
