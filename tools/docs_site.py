"""MkDocs' hook: pages link as they do in the repository, and the reference is made from the code.

In the repository README and docs/ link to each other, to results/, configs/ and more. The site has
README as its first page, docs/ beside it, and whatever else the pages link to.
"""

import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import reference  # noqa: E402
from mkdocs.structure.files import File  # noqa: E402

LINK = re.compile(r"(\]\()([^)\s#]+)?(#[^)\s]+)?(\))")
MADE = re.compile(r"<!-- made by make docs: ([\w ]+) -->")
MAKERS = {
    "config keys": reference.config_keys,
    "commands": reference.commands,
    "public names": reference.public_names,
}
PAGES = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
}
BESIDE = ("results/*", "configs/*.py", "LICENSE", "tests/pretrained/*.py")


def on_files(files, config):
    """Adds README and what lies beside docs/."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    for pattern in BESIDE:
        for path in filter(Path.is_file, sorted(ROOT.glob(pattern))):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Points links to where their targets are on the site, and fills in the reference."""
    here = page.file.src_uri
    home = PAGES.get(here, f"docs/{here}")
    markdown = MADE.sub(lambda found: MAKERS[found[1]](), markdown)
    return LINK.sub(lambda found: _link(found, here, home), markdown)


def _link(found, here: str, home: str) -> str:
    before, path, anchor, after = (part or "" for part in found.groups())
    if path and not re.match(r"\w+:", path):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(home), path))
        target = {source: page for page, source in PAGES.items()}.get(target, target)
        target = target.removeprefix("docs/")
        path = posixpath.relpath(target, posixpath.dirname(here) or ".")
    return f"{before}{path}{anchor}{after}"
