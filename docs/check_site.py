"""Check that all internal links of a built site work and that its search finds WORDS: ``python docs/check_site.py docs/_build``.

Sphinx checks references between sources. This script reads the HTML, so it also checks the links of themes, raw HTML and
the gallery.
"""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

WORDS = ("isolationforest", "shingl", "codisp", "spark", "hotspot", "sagemak", "kinesi", "wasm")  # as Sphinx stems them


class Page(HTMLParser):
    """The targets of a page's links, and the anchors that it offers."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif name in ("href", "src"):
                self.links.add(value or "")


def main(site: Path) -> None:
    # the theme's templates in _static are not pages
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    if not pages:
        raise SystemExit(f"{site} holds no page")
    faults, checked = [], 0
    for path, page in pages.items():
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            checked += 1
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            file = file / "index.html" if file.is_dir() else file
            if not file.exists():
                faults.append(f"{path.relative_to(site.resolve())}: no file {link}")
            elif target.fragment and file in pages and unquote(target.fragment) not in pages[file].anchors:
                faults.append(f"{path.relative_to(site.resolve())}: no anchor {link}")
    index = re.search(r"Search\.setIndex\((.*)\)", (site / "searchindex.js").read_text(encoding="utf-8"), re.DOTALL)
    known = json.loads(index[1]) if index else {"terms": {}, "titleterms": {}}
    faults += [f"search does not know {w!r}" for w in WORDS if w not in known["terms"] and w not in known["titleterms"]]
    if faults:
        raise SystemExit("\n".join(sorted(faults)))
    print(f"{len(pages)} pages, {checked} internal links, {len(known['terms'])} words in the search index")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
