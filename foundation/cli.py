"""Run a command's `main` so that a user's mistake ends in one clear line and never in a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from foundation.console import escape_what_they_lack, silence
from foundation.errors import UserError
from foundation.page.wording import printable

EXIT_FAILURE = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run it again, with --resume where it has that",
    errno.EDQUOT: "the disk quota is used up; free some space and run it again, with --resume where it has that",
    errno.EACCES: "permission denied; check who owns the path",
    errno.EPERM: "operation not permitted; check who owns the path",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOENT: "no such file or directory",
    errno.EIO: "the device reports an input/output error; check the disk",
}


def describe_os_error(error: OSError) -> str:
    """One line for an operating-system error: what happened, to which path, what to do."""
    what = _REMEDIES.get(error.errno or 0, error.strerror or str(error))
    where = error.filename2 or error.filename
    return f"{os.fsdecode(where)}: {what}" if isinstance(where, str | bytes) and where else what


def told(error: BaseException, who: str = "", quietly: bool = False) -> int | None:
    """Say in one line what a user or the machine did wrong; gives the exit code.

    `who` names the process; `quietly` says nothing. None, and no word, for an error that deserves a traceback.
    """
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) went away: not an error, and Python must not complain again at exit.
        silence(sys.stdout)
        return EXIT_FAILURE
    if isinstance(error, UserError):
        line, code = f"error: {who}{error}", EXIT_USER_ERROR
    elif isinstance(error, OSError):
        line, code = f"error: {who}{describe_os_error(error)}", EXIT_FAILURE
    elif isinstance(error, KeyboardInterrupt):
        line, code = "interrupted", EXIT_INTERRUPTED
    else:
        return None
    if not quietly:
        try:
            print(printable(line), file=sys.stderr)  # it may quote names out of a stranger's file
        except OSError:  # nobody reads that either: the exit code still tells
            silence(sys.stderr)
    return code


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Call `main(argv)` and exit with its code.

    `UserError` exits 2, an operating-system error 1, Ctrl-C 130, each with one line on standard error.
    """
    escape_what_they_lack()
    try:
        code = main(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()  # Python would do it at exit, where a reader that went away is a complaint and code 120
    except (UserError, OSError, KeyboardInterrupt) as error:
        code = told(error) or EXIT_FAILURE
    sys.exit(code)
