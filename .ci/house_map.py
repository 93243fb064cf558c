"""Write the README's map of the house: one line for every tracked file, taken from the file itself.

A Python file's line is the first paragraph of its docstring, so a map and its files cannot disagree.
`make map` rewrites the map; with `--check` nothing is written and a stale map is an error.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- map: made by `make map` -->", "<!-- end of map -->"

# Files that cannot describe themselves.
OTHERS = {
    ".ci/run": "What continuous integration runs: `make test`.",
    ".gitignore": "What git leaves alone: datasets, runs, environments, caches.",
    "CONTRIBUTING.md": "How the house is built, and how to add a source, a filter, a model, a test.",
    "LICENSE": "MIT.",
    "Makefile": "`make help` lists what it can do.",
    "README.md": "This page.",
    "README.zh-CN.md": "This page in Chinese, but for this map.",
    "config.yaml": "Every setting with its default and what it means.",
    "pyproject.toml": "Dependencies, packaging, and the settings of ruff, mypy, pytest and import-linter.",
    "requirements.txt": "Exact versions of what the commands need, for Python 3.11 to 3.13.",
    "requirements-dev.txt": "Exact versions of what the tests need besides.",
}
TOP = "The top floor"
TITLE = re.compile("<title[^>]*>(.*)</title>")


def first_paragraph(path: Path) -> str:
    """The first paragraph of a Python file's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def first_comment(path: Path) -> str:
    """The first comment of a page, a style sheet or a script."""
    found = re.search(r"(?:<!--|/\*|//)\s*(.+?)\s*(?:-->|\*/|$)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else ""


def line_about(name: str) -> str:
    """What the map says about one file. A file nobody describes ends the program with the way to do it."""
    path = Path(name)
    line = first_paragraph(ROOT / name) if path.suffix == ".py" else OTHERS.get(name, "")
    if path.suffix in (".html", ".css", ".js", ".cpp", ".h"):
        line = first_comment(ROOT / name)
    if path.suffix == ".svg":
        return f"Picture: {TITLE.findall((ROOT / name).read_text(encoding='utf-8'))[0]}."
    if not line and path.parts[0] in ("docs", "configs"):
        line = (ROOT / name).read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") + "."
    if not line and path.parts[0] == "tests":
        return f"Tests of {' '.join([*path.parts[1:-1], path.stem.removeprefix('test_').replace('_', ' ')])}."
    if not line:
        sys.exit(
            f"error: {name} says nothing about itself; give it a docstring, or a line in OTHERS of .ci/house_map.py"
        )
    return line


def tracked() -> list[str]:
    """Every tracked file that is there, as a path below the repository's root."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return sorted(name for name in os.fsdecode(listing).split("\0") if name and (ROOT / name).exists())


def house_map() -> str:
    """The map as Markdown, a heading for each directory of the top level."""
    groups: dict[str, list[str]] = {TOP: []}
    about: dict[str, str] = {}
    for name in tracked():
        folder = Path(name).parts[0] if len(Path(name).parts) > 1 else TOP
        if Path(name).name == ".gitkeep":
            continue
        line = line_about(name)
        if name == f"{folder}/__init__.py":
            about[folder] = line
        elif folder == ".ci":
            groups[TOP].append(f"- `{name}` — {line}")
        else:
            groups.setdefault(folder, []).append(f"- `{name}` — {line}")
    parts = []
    for folder, lines in groups.items():
        heading = f"### {folder}/" if folder != TOP else f"### {TOP}"
        parts.append("\n\n".join(filter(None, [heading, about.get(folder), "\n".join(lines)])))
    return "\n\n".join(parts)


def main(argv: list[str]) -> int:
    """Rewrite the map in README.md, or with `--check` only say whether it is up to date."""
    readme = ROOT / "README.md"
    old = readme.read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest and END in rest, f"README.md has no place for the map: {BEGIN} … {END}"
    new = f"{before}{BEGIN}\n\n{house_map()}\n\n{END}{after}"
    if "--check" not in argv:
        readme.write_text(new, encoding="utf-8")
    elif new != old:
        stale = sorted(set(new.splitlines()) ^ set(old.splitlines()))
        print("the README's map is out of date; `make map` rewrites it:\n" + "\n".join(stale))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
