"""The vocabulary of failure: one small tree, divided by who can mend the fault.

Every error that leaves a part derives from :class:`LookoutError` and carries a ``code`` (a constant of the
wire: never rename one), the ``field`` it speaks of where there is one, and a message that names the thing, the
value and the remedy. :class:`ProgrammingError` is apart on purpose: nobody but a developer can mend it, so no
handler for bad input may catch it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class ProgrammingError(Exception):
    """A rule of the code was broken (an illegal transition, a call in the wrong order): a bug, never bad input."""


class LookoutError(Exception):
    """Root of everything that can go wrong in the field.

    ``message`` names the thing, its value and the remedy; ``field`` is the dotted path of the offending key.
    """

    code: ClassVar[str] = "error"
    problems: tuple[Problem, ...] = ()
    """Each thing that is wrong, where the error is about several."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


# --- bad input: whoever wrote it can mend it -------------------------------------------------------------------


class InputError(LookoutError):
    """Something a person or a peer wrote is wrong."""

    code = "bad_input"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in something a person wrote.

    ``path`` is the dotted path of the key (empty: the whole text), ``value`` what stands there as text (None where it
    must not or need not be shown), ``message`` what is wrong, ``hint`` what would be right, ``where`` the file and
    line, or the environment variable, that it came from.
    """

    path: str
    value: str | None
    message: str
    hint: str | None = None
    where: str | None = None

    def __str__(self) -> str:
        """Say it in one line."""
        value = "" if self.value is None else f" (is {self.value})"
        hint = "" if self.hint is None else f"; {self.hint}"
        where = "" if self.where is None else f" [{self.where}]"
        return f"{self.path or 'the file'}: {self.message}{value}{hint}{where}"


class ConfigError(InputError):
    """The configuration is wrong; the message lists every problem found, ``problems`` holds them one by one."""

    code = "bad_config"

    def __init__(self, message: str, *, field: str | None = None, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message, field=field)
        self.problems = problems


class ReferenceError(InputError):  # noqa: A001 - the field's word; builtins.ReferenceError is about weak references
    """An operator's reference to a release cannot be read or resolved."""

    code = "bad_reference"


class ManifestError(InputError):
    """A release's manifest breaks its schema or contradicts its files."""

    code = "bad_manifest"


class ModelError(InputError):
    """A model file cannot be loaded or does not do what its manifest says."""

    code = "bad_model"


class OutputError(ModelError):
    """A model answered with something that cannot be a detection (not finite, wrong shape)."""

    code = "bad_output"


class CommandError(InputError):
    """A command's verb or arguments are wrong."""

    code = "bad_command"


# --- trust: nobody at the device can mend it --------------------------------------------------------------------


class TrustError(LookoutError):
    """Signed metadata says no: unsigned, tampered, foreign or rolled back."""

    code = "untrusted"


class MetadataExpired(TrustError):
    """The registry's metadata is past its expiry; what is stored goes on, nothing new is resolved."""

    code = "metadata_expired"


class DigestMismatch(TrustError):
    """A file's bytes are not the ones that were signed for."""

    code = "digest_mismatch"


# --- the surroundings: network, disk, cameras --------------------------------------------------------------------


class SurroundingsError(LookoutError):
    """Something outside the agent failed; trying again later may help."""

    code = "unavailable"


class RegistryUnreachable(SurroundingsError):
    """The registry gave no answer, or not in time."""

    code = "registry_unreachable"


class NotProvisioned(SurroundingsError):
    """The device holds no root of trust yet."""

    code = "not_provisioned"


class BrokerUnreachable(SurroundingsError):
    """The MQTT broker gave no answer or refused the connection."""

    code = "broker_unreachable"


class StorageError(SurroundingsError):
    """The disk is full, read-only or damaged."""

    code = "storage"


class MemoryShort(SurroundingsError):
    """The device has not the memory that was asked for."""

    code = "memory"


class CameraError(SurroundingsError):
    """A camera cannot be opened or read."""

    code = "camera"


# --- children ------------------------------------------------------------------------------------------------------


class ChildError(LookoutError):
    """A child process failed; the message quotes its last words."""

    code = "child_failed"


class ChildDied(ChildError):
    """A child ended without being asked to."""

    code = "child_died"


class ChildHung(ChildError):
    """A child missed its deadline."""

    code = "child_hung"


# --- deployments ---------------------------------------------------------------------------------------------------


class DeploymentRefused(LookoutError):
    """A deploy, cancel or rollback cannot be taken in the state the pipeline is in; nothing was changed."""

    code = "refused"


class TrialFailed(LookoutError):
    """A candidate failed a test of its trial."""

    code = "trial_failed"
