"""What the error stream says at the end: a Kubernetes Status, or plain text in old protocols."""

from __future__ import annotations

import msgspec


class _Cause(msgspec.Struct, frozen=True, omit_defaults=True):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct, frozen=True, omit_defaults=True):
    causes: tuple[_Cause, ...] = ()


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """metav1.Status (meta/v1 of the Kubernetes API), as far as streams use it."""

    status: str = ""
    message: str = ""
    reason: str = ""
    details: _Details | None = None
    code: int = 0

    def encode(self, *, structured: bool) -> bytes:
        """JSON; or else the message, which is empty for a success."""
        return msgspec.json.encode(self) if structured else self.message.encode()


SUCCESS = Status(status="Success")


def exit_status(code: int) -> Status:
    """For a command that has ended."""
    if not code:
        return SUCCESS
    return Status(
        status="Failure",
        message=f"command terminated with non-zero exit code: exit status {code}",
        reason="NonZeroExitCode",
        details=_Details(causes=(_Cause(reason="ExitCode", message=str(code)),)),
    )


def internal_error(message: str) -> Status:
    """For what could not be done."""
    return Status(
        status="Failure",
        message=f"Internal error occurred: {message}",
        reason="InternalError",
        details=_Details(causes=(_Cause(message=message),)),
        code=500,
    )


__all__ = ["SUCCESS", "Status", "exit_status", "internal_error"]
