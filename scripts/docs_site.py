"""Hooks of mkdocs.yml: pages that the repository keeps elsewhere join the site, so that each has one source; so does the notebook.

Links between them are rewritten to what they are on the site; a link to a file that the site does not have becomes its name. In the
reference a field's comment, `K: np.ndarray  # (3, 3) of the image [px]`, is its description.
"""

import base64
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "handsynth/core/CONVENTIONS.md": "conventions.md",
    "benchmarks/README.md": "results.md",
    "LICENCES.md": "licence-table.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/notebook.ipynb": "notebook.md",
}
"""File of the repository -> page of the site."""

IMAGES, IMAGES_ON_SITE = ".github/images", "images"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages, the README's images and the notebook's."""
    for source, page in PAGES.items():
        if source.endswith(".ipynb"):
            files.remove(files.src_uris[Path(source).name])
            text, images = notebook_page(json.loads((ROOT / source).read_text(encoding="utf-8")))
            for name, data in images.items():
                files.append(File.generated(config, name, content=data))
        else:
            text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for path in sorted((ROOT / IMAGES).iterdir()):
        files.append(File.generated(config, f"{IMAGES_ON_SITE}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """The page with links as the site has them."""
    home = {name: source for source, name in PAGES.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return LINK.sub(lambda link: _on_site(link, posixpath.dirname(home), files), markdown)


def _on_site(link: re.Match[str], folder: str, files: Files) -> str:
    mark, text, target = link.groups()
    path, hash_mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return link[0]
    source = posixpath.normpath(posixpath.join(folder, path))
    name = PAGES.get(source, source.replace(IMAGES, IMAGES_ON_SITE).removeprefix("docs/"))
    if name in files.src_uris:
        return f"{mark}[{text}]({name}{hash_mark}{anchor})"
    return text if (ROOT / source).exists() else link[0]  # a dead link stays, and fails the build


def notebook_page(notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and the images that its cells show, by name."""
    images: dict[str, bytes] = {}

    def parts() -> Iterator[str]:
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
            for output in cell.get("outputs", ()):
                data = output.get("data", {})
                if "text" in output or ("text/plain" in data and len(data) == 1):
                    yield f"```text\n{''.join(output.get('text', data.get('text/plain'))).rstrip()}\n```"
                for kind in ("png", "jpeg"):
                    if f"image/{kind}" in data:
                        name = f"images/notebook-{len(images)}.{kind}"
                        images[name] = base64.b64decode("".join(data[f"image/{kind}"]))
                        yield f"![Output of the cell above]({name})"

    return "\n\n".join(parts()) + "\n", images


class FieldComments(griffe.Extension):
    """Fields of classes get the comment at the end of their line, or above it, as their docstring where they have none."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe for every attribute that it has read."""
        if attr.docstring or not attr.lineno or not isinstance(attr.filepath, Path) or not (attr.parent and attr.parent.is_class):
            return
        lines = attr.filepath.read_text(encoding="utf-8").splitlines()
        above, line = lines[attr.lineno - 2].strip(), lines[attr.lineno - 1]
        comment = line.partition("  # ")[2] or (above[1:].strip() if above.startswith("#") else "")
        if comment:
            attr.docstring = griffe.Docstring(comment, parent=attr)
