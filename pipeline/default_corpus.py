"""The text every Python installation already holds, collected into one JSONL file.

What a newcomer trains on before having a corpus of their own: the docstrings of the standard library, the
longer comments that explain its code, and the topics of the language reference that `help()` shows. The
modules are parsed, never imported, so collecting runs no code and depends on nothing but the running Python's
sources; nothing is downloaded.

A document is one class (its docstring and those of its members, in the order of the source), or the rest of
one module (its docstring and those of its functions), or one module's comments, or one topic: a few hundred
tokens on one subject. Signatures stay out: prose teaches a tiny model more words than identifiers do.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from foundation.atomic import write_bytes
from foundation.errors import UserError

FILE_NAME = "python_docs.jsonl"

# Directories of the standard library whose docstrings are not about the library, or not part of it.
SKIPPED_DIRECTORIES = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__phello__"}

# A ruler under a heading or inside a table: no words, and long runs of one character teach nothing.
RULER = re.compile(r"[-=*~^#_+|\s]{3,}")

# Licences, option lists and usage notes are pasted from class to class; a model learns them by heart.
# A paragraph of at least this many characters is kept the first time only.
REPEATABLE_CHARACTERS = 60

# Three or more lines of nothing but comment; of those, the ones that read like prose are kept: a capital at
# the start, a full stop at the end, and some length. Commented-out code and separators have none of these.
COMMENT_BLOCK = re.compile(r"(?:^[ \t]*#(?: .*)?\n){3,}", re.MULTILINE)
PROSE = re.compile(r"[A-Z].{118,}[.!?)]", re.DOTALL)

_Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def collect(directory: Path, progress: bool = True) -> Path:
    """Write the corpus to `directory`/python_docs.jsonl (atomically) and return that path.

    One record a line: `{"text": str, "source": NAME}`, where NAME is `module`, `module.Class`,
    `module#comments` or `topic:TOPIC`, in the order of the files: the same Python gives the same bytes.
    `progress` shows a bar on stderr. Costs about five seconds.

    Raises UserError when this Python carries no standard-library sources (a stripped or zipped build).
    """
    library = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    lines: list[str] = []
    for path in tqdm(_source_files(library), desc="collecting", unit=" files", disable=not progress):
        for source, parts in _documents(library, path):
            text = _clean(parts, seen)
            if text:
                lines.append(json.dumps({"text": text, "source": source}, ensure_ascii=False) + "\n")
    if not lines:
        raise UserError(
            f"no default corpus: this Python has no standard-library sources in {library}; "
            "give your own text with --input FILE_OR_DIRECTORY"
        )
    target = directory / FILE_NAME
    # A docstring may spell a lone surrogate, which UTF-8 cannot: it becomes a question mark.
    write_bytes(target, "".join(lines).encode("utf-8", errors="replace"))
    return target


def _source_files(library: Path) -> list[Path]:
    """The library's Python files worth reading, ordered by their path below it."""
    found = []
    for path in library.rglob("*.py"):
        directories = path.relative_to(library).parts[:-1]
        # config-3.11-… holds build settings of this installation.
        if any(part in SKIPPED_DIRECTORIES or part.startswith("config-") for part in directories):
            continue
        found.append(path)
    return sorted(found, key=lambda path: path.relative_to(library).as_posix())


def _documents(library: Path, path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (source name, texts in the order of the file) for every document in one Python file."""
    try:
        with tokenize.open(path) as file:
            code = file.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old sources have invalid escapes; they are not ours to mend
            tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return  # a template or a file kept for another Python version
    module = ".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__")
    if module == "pydoc_data.topics":
        yield from _topics(tree)
        return
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    yield module, [text for node in _scopes(tree, without=classes) for text in _docstring(node)]
    for node in classes:
        yield f"{module}.{node.name}", [text for inner in _scopes(node) for text in _docstring(inner)]
    yield f"{module}#comments", _comments(code)


def _scopes(root: ast.AST, without: list[ast.ClassDef] | None = None) -> Iterator[_Scope]:
    """Yield `root` and the classes and functions inside it, in the order of the file, but for `without`."""
    if isinstance(root, _Scope):
        yield root
    for child in ast.iter_child_nodes(root):
        if without is None or child not in without:
            yield from _scopes(child)


def _docstring(node: _Scope) -> list[str]:
    text = ast.get_docstring(node, clean=True)
    return [text] if text else []


def _comments(code: str) -> list[str]:
    """The longer comments of a file that read like prose, without their marks."""
    blocks = []
    for match in COMMENT_BLOCK.finditer(code):
        lines = [line.strip().removeprefix("#").removeprefix(" ") for line in match[0].splitlines()]
        blocks.append("\n".join(lines).strip())
    return [block for block in blocks if PROSE.fullmatch(block)]


def _topics(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield the language reference's topics from the one dictionary that `pydoc_data/topics.py` assigns."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            topics: dict[str, str] = ast.literal_eval(node.value)
            for name in sorted(topics):
                yield f"topic:{name}", [inspect.cleandoc(topics[name])]


def _clean(parts: list[str], seen: set[str]) -> str:
    """Join docstrings into paragraphs, without rulers and long paragraphs that are in `seen` already."""
    paragraphs: list[str] = []
    for part in parts:
        lines = [_unpadded(line) for line in part.splitlines() if not RULER.fullmatch(line)]
        for paragraph in re.split(r"\n{2,}", "\n".join(lines)):
            words = " ".join(paragraph.split())
            if not words or words in seen:
                continue
            if len(words) >= REPEATABLE_CHARACTERS:
                seen.add(words)
            paragraphs.append(paragraph.strip("\n"))
    return "\n\n".join(paragraphs)


def _unpadded(line: str) -> str:
    """The line without trailing blanks and, in a table's row, without the blanks that align its columns."""
    return " ".join(line.split()) if line.lstrip().startswith("|") else line.rstrip()
