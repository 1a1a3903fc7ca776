"""A real browser for tests of pages: the system's Chromium, headless, with everything that a page must not do noted."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DESKTOP, PHONE = (1280, 800), (390, 844)


def chromium() -> str | None:
    """The program, None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)


@dataclass
class Opened:
    """A page that was opened, and what it did that it should not have done."""

    page: Any
    session: Any
    wrongs: list[str] = field(default_factory=list)  # messages on the console, errors, requests

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def cpu_s(self) -> float:
        """CPU seconds of the page's own thread so far: what loading costs, whoever else uses the machine."""
        metrics = self.session.send("Performance.getMetrics")["metrics"]
        return next(entry["value"] for entry in metrics if entry["name"] == "TaskDuration")

    def see_all(self) -> None:
        """Scrolls through the page, so that every chart is drawn."""
        for place in self.page.query_selector_all(".plot"):
            place.scroll_into_view_if_needed()
        self.page.wait_for_function("!document.querySelector('.plot:not([data-drawn])')")


@contextlib.contextmanager
def opened(browser: Any, path: Path, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Opened]:
    """Opens a page from its file and waits until it is ready."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    context.set_default_timeout(240_000)  # whoever else uses the machine: time is measured by `cpu_s`
    page = context.new_page()
    found = Opened(page, context.new_cdp_session(page))
    found.session.send("Performance.enable", {"timeDomain": "threadTicks"})
    found.page.on("console", lambda message: found.wrongs.append(f"{message.type}: {message.text}"))
    found.page.on("pageerror", lambda error: found.wrongs.append(f"error: {error}"))
    found.page.on("request", lambda request: found.wrongs.extend(_outer(request.url, path)))
    try:
        found.page.goto(path.absolute().as_uri())
        found.page.wait_for_selector("html[data-ready]")
        yield found
    finally:
        context.close()


def _outer(url: str, path: Path) -> list[str]:
    """What a request is to be noted as; nothing for what lies in the page."""
    inner = url.startswith(("data:", "blob:")) or url.partition("#")[0] == path.absolute().as_uri()
    return [] if inner else [f"request: {url[:99]}"]
