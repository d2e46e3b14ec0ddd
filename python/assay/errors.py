"""What can go wrong. No error is ever turned into a score."""

from __future__ import annotations

from typing import Any


class AssayError(Exception):
    """The base of all errors."""


class ServerError(AssayError):
    """The server refused a request, or it cannot be reached.

    `status` is the HTTP status, and `None` if there was no answer. `code` and `param` are those of the error's body.
    """

    def __init__(self, message: str, status: int | None = None, code: str | None = None, param: str | None = None):
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    # Errors cross processes, for example Ray's actors. By default, unpickling makes an exception from its
    # message alone.
    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status, self.code, self.param)


class ScoringError(AssayError):
    """Some conversations have no scores. `failures` has the reason of each, by its index in the call."""

    def __init__(self, failures: dict[int, str]):
        first = min(failures)
        others = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"response {first} has no scores: {failures[first]}{others}")
        self.failures = failures

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.failures,)
