"""The ground floor is light: no torch but for `foundation.device`, and nothing of the other floors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import importlib, json, sys
from pathlib import Path
for path in sorted(Path("foundation").glob("*.py")):
    if path.stem not in ("__init__", "device"):
        importlib.import_module(f"foundation.{path.stem}")
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_what_importing_the_foundation_imports(repo_root: Path):
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=repo_root, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "foundation" in loaded and "numpy" in loaded
    assert not loaded & {
        "torch",
        "tokenizers",
        "gigatoken",
        "transformers",
        "tokenization",
        "shards",
        "pipeline",
        "model",
    }
