"""A page: one HTML file with data, styles and scripts inside, which opens without a network and asks for nothing.

Whatever comes from outside (names, licences, paths) is text in it and never markup or code: Jinja2 escapes what stands in the
page, `json_block` what scripts read, and the page's own policy (Content-Security-Policy) lets no script run but those whose
digests it names, and nothing be fetched. vendor/ holds plotly.js and three.js with their licences (both MIT), as
scripts/page_scripts.sh fetched them.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from handsynth.core.errors import AssetError, HandsynthError, UsageError
from handsynth.core.files import check_out_file, write_file
from handsynth.core.secrets import hide_secrets

FOLDER = Path(__file__).parent
SCRIPTS = ("vendor/plotly.min.js", "vendor/three.min.js", "page.js")
"""What every page carries, in the order in which it runs."""


def check_report(path: Path) -> None:
    """Checks, before any work is done for it, that a page can be written to `path`.

    Raises UsageError when the name is no page's, AssetError when Jinja2 is missing, HandsynthError when the system refuses.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path} cannot be written: a report is a page, give a name that ends in .html")
    _jinja2()
    check_out_file(path)


def _jinja2() -> Any:
    try:
        import jinja2
    except ImportError:
        raise AssetError("Jinja2, which writes report pages, is not installed: pip install 'handsynth[report]'") from None
    return jinja2


def write_page(path: Path, template: Path, values: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Writes a page, whole or not at all; its folder is made if need be.

    Args:
        path: file to write.
        template: extends base.html; beside it may lie others.
        values: what the template shows: texts, which are escaped, and numbers.
        data: what page.js reads: `charts` as of core.page.charts, `gallery`, `faces`. JSON-able.

    Raises AssetError when Jinja2 is missing, HandsynthError when the file cannot be written.
    """
    page = render_page(template, values, data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, page)
    except OSError as error:
        raise HandsynthError(f"{path} cannot be written: {error.strerror}") from None


def render_page(template: Path, values: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    """The bytes of a page; see `write_page`. No secret of an address is in them."""
    jinja2 = _jinja2()
    loader = jinja2.FileSystemLoader([template.parent, FOLDER])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = number
    scripts = [(FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS]
    markup = jinja2.utils.markupsafe.Markup
    html = environment.get_template(template.name).render(
        values,
        charts=data["charts"],
        gallery=data["gallery"],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        policy="default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src " + " ".join(map(_source, scripts)),
        style=markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        scripts=[markup(script) for script in scripts],
        data=markup(json_block(data)),
    )
    return hide_secrets(html).encode()


def _source(script: str) -> str:
    """What a page's policy calls one script that may run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def json_block(data: Any) -> str:
    """JSON that may stand inside a script element of a page: nothing in it ends the element or begins a comment."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def number(value: float, digits: int = 3) -> str:
    """A number for people: whole above a thousand, with commas between thousands, else so many significant digits."""
    if abs(value) >= 1000 or value == int(value):
        return f"{round(value):,}"
    return f"{value:.{digits}g}"


def data_uri(jpeg: bytes) -> str:
    """The address of an image that is written into the page."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def options(facets: Mapping[str, Mapping[str, int]], titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a gallery can be filtered by: {facet: {value: how many samples have it}} -> a list; one value is no choice."""
    return [
        {"name": name, "title": titles[name], "values": [{"value": value, "count": count} for value, count in values.items()]}
        for name, values in facets.items()
        if len(values) > 1
    ]


Pairs = Sequence[tuple[str, str]]
"""Names and values for a page's table."""

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""
