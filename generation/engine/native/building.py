"""Compiles the C++ of this package for the processor at hand, once, and keeps it in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from foundation import fingerprint
from foundation.atomic import atomic_path
from foundation.logs import get_logger

LOG = get_logger("generation")
HERE = Path(__file__).parent
SOURCES, HEADER = (HERE / "forward.cpp", HERE / "reading.cpp"), HERE / "arithmetic.h"
# No -ffast-math: it would change the order of sums with what is computed beside them.
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-fPIC", "-shared")
COMPILERS = ("c++", "g++", "clang++")
PATIENCE = 300.0  # seconds


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler or it fails, which is said once."""
    compiler = find_compiler()
    if compiler is None:
        LOG.info("no C++ compiler here: generation runs without compiled kernels, several times slower")
        return None
    try:
        return _load(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        said = error.stderr.strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        reason = next((line for line in said if "error" in line), str(error))
        LOG.warning("the C++ compiler failed (%s): generation runs without compiled kernels, slower", reason)
        return None


def find_compiler() -> list[str] | None:
    """$CXX, or the first compiler there is. None on Windows, whose compilers have other flags."""
    if sys.platform == "win32":
        return None
    wanted = shlex.split(os.environ.get("CXX", ""))
    for command in [wanted] if wanted else [[name] for name in COMPILERS]:
        if shutil.which(command[0]):
            return command
    return None


def _load(compiler: list[str]) -> ctypes.CDLL:
    """From the cache, or compiled into it; where no cache can be, into a directory that does not outlive the load."""
    version = subprocess.run([*compiler, "--version"], capture_output=True, check=True, text=True).stdout
    code = [path.read_text() for path in (*SOURCES, HEADER)]
    identity = [*code, FLAGS, compiler, version, platform.machine(), _processor()]
    name = f"forward-{fingerprint.short(fingerprint.of_json(identity), 16)}.so"
    cache = _cache()
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="mateconv-") as directory:
            return compiled(compiler, Path(directory) / name)
    if not (cache / name).is_file():
        with atomic_path(cache / name) as temporary:
            return compiled(compiler, temporary)
    return ctypes.CDLL(str(cache / name))


def compiled(compiler: list[str], target: Path) -> ctypes.CDLL:
    """The library, compiled into `target`."""
    begun = time.monotonic()
    command = [*compiler, *FLAGS, *map(str, SOURCES), "-o", str(target)]
    subprocess.run(command, capture_output=True, check=True, text=True, timeout=PATIENCE)
    loaded = ctypes.CDLL(str(target))
    LOG.info("compiled the kernels of generation for this processor in %.1f s", time.monotonic() - begun)
    return loaded


def _processor() -> str:
    """What `-march=native` looks at: a home directory may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}))


def _cache() -> Path | None:
    """The user's directory for compiled code; None where it cannot be made, or others could write to it."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mateconv" / "kernels"
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.stat()
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    private = found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return base if private and os.access(base, os.W_OK) else None
