"""Error families shared by both programs. An edge raises one family; a bug stays a RuntimeError.

Every message starts with "cannot", names the thing and says what happens next or what to do.
"""

from collections.abc import Mapping


class HostmeshError(Exception):
    """Anything an operator may be shown: its text is a whole sentence without a traceback.

    `detail` is what it shows beside the sentence, for tables, machines and the audit.
    """

    def __init__(self, text: str = "", detail: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.detail: Mapping[str, object] = detail or {}


class BadInput(HostmeshError):
    """What a person wrote cannot be used: exit status 2, nothing was changed."""


class Refused(HostmeshError):
    """The other side understood and said no: asking again changes nothing."""


class Unreachable(HostmeshError):
    """A dependency did not answer: the caller retries with backoff."""
