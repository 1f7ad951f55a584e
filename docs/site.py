"""For MkDocs: what lies beside docs/ in the repository and is named by the documents becomes part of the site.

README.md is the first page; CONTRIBUTING.md, CHANGELOG.md and CITATION.cff, the cards of networks, the results'
pictures and tables stand where links look for them.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
BESIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "ilnrepro/trained/*.md",
          "results/*/figures/*.png", "results/*/*.md", "results/*/*/tables/*.md")
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)(?P<path>[^)#\s]+)")


def on_files(files, config):
    """Adds the files beside docs/."""
    for pattern in BESIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, _on_the_site(name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Points links, which are relative to the page's place in the repository, to its place on the site."""
    uri = page.file.src_uri
    place = uri if page.file.generated_by else f"docs/{uri}"

    def moved(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place), match["path"]))
        return posixpath.relpath(_on_the_site(target), posixpath.dirname(uri) or ".")

    return _LINK.sub(moved, markdown)


def _on_the_site(name):
    return "index.md" if name == "README.md" else name.removeprefix("docs/")
