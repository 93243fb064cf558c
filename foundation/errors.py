"""The one exception type for mistakes a user can mend."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, configuration or state. The message says what, where and what to do; it is shown without a traceback."""
