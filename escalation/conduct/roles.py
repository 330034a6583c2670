"""Roles in a running trial, what each may do, and the delegations that give them to people.

Everything is denied that the matrix does not allow, and a role counts only on the dates of a
delegation. Nothing here reads a clock or a database: the caller says which delegations exist and
which day it is at the site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from escalation.errors import EscalationError

EVERY_TRIAL: Final = "*"
"""In place of a trial: the whole installation. Only administrators are delegated so."""


class Role(StrEnum):
    """Part a person plays in a trial, by delegation."""

    INVESTIGATOR = "investigator"
    COORDINATOR = "coordinator"
    STATISTICIAN = "statistician"
    COMMITTEE_MEMBER = "committee_member"
    MONITOR = "monitor"
    ADMINISTRATOR = "administrator"

    @property
    def words(self) -> str:
        """The role as it stands in a signature block or a refusal."""
        return _words(self)


class Permission(StrEnum):
    """What can be done in live conduct, one verb each."""

    READ_TRIAL = "read_trial"
    SCREEN = "screen"
    CONSENT = "consent"
    RECORD_ELIGIBILITY = "record_eligibility"
    ENROL = "enrol"
    RECORD_INFUSION = "record_infusion"
    RECORD_EVENT = "record_event"
    RECORD_LABORATORY = "record_laboratory"
    RECORD_VISIT = "record_visit"
    ADJUDICATE_PROPOSE = "adjudicate_propose"
    ADJUDICATE_DECIDE = "adjudicate_decide"
    RECORD_DEVIATION = "record_deviation"
    RAISE_QUERY = "raise_query"
    ANSWER_QUERY = "answer_query"
    CLOSE_QUERY = "close_query"
    CORRECT = "correct"
    TAKE_SNAPSHOT = "take_snapshot"
    RECOMMEND = "recommend"
    COMMITTEE_RECORD = "committee_record"
    SIGN_DECISION = "sign_decision"
    CIRCULATE = "circulate"
    AMEND_PROTOCOL = "amend_protocol"
    OPEN_TRIAL = "open_trial"
    CLOSE_TRIAL = "close_trial"
    EXPORT = "export"
    VERIFY = "verify"
    MANAGE_ACCOUNTS = "manage_accounts"
    DELEGATE = "delegate"
    IMPORT_DATA = "import_data"
    BACKUP = "backup"


_SITE_RECORDS: Final = frozenset(
    {
        Permission.READ_TRIAL,
        Permission.SCREEN,
        Permission.CONSENT,
        Permission.RECORD_ELIGIBILITY,
        Permission.RECORD_INFUSION,
        Permission.RECORD_EVENT,
        Permission.RECORD_LABORATORY,
        Permission.RECORD_VISIT,
        Permission.RECORD_DEVIATION,
        Permission.ANSWER_QUERY,
        Permission.CORRECT,
        Permission.IMPORT_DATA,
        Permission.VERIFY,
    }
)

MATRIX: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.INVESTIGATOR: _SITE_RECORDS
        | {
            Permission.ENROL,
            Permission.ADJUDICATE_PROPOSE,
            Permission.AMEND_PROTOCOL,
            Permission.OPEN_TRIAL,
            Permission.CLOSE_TRIAL,
            Permission.EXPORT,
        },
        Role.COORDINATOR: _SITE_RECORDS | {Permission.COMMITTEE_RECORD, Permission.CIRCULATE},
        Role.STATISTICIAN: frozenset(
            {
                Permission.READ_TRIAL,
                Permission.RAISE_QUERY,
                Permission.CLOSE_QUERY,
                Permission.TAKE_SNAPSHOT,
                Permission.RECOMMEND,
                Permission.EXPORT,
                Permission.VERIFY,
            }
        ),
        Role.COMMITTEE_MEMBER: frozenset(
            {
                Permission.READ_TRIAL,
                Permission.ADJUDICATE_DECIDE,
                Permission.RAISE_QUERY,
                Permission.COMMITTEE_RECORD,
                Permission.SIGN_DECISION,
                Permission.CIRCULATE,
                Permission.VERIFY,
            }
        ),
        Role.MONITOR: frozenset(
            {Permission.READ_TRIAL, Permission.RAISE_QUERY, Permission.EXPORT, Permission.VERIFY},
        ),
        Role.ADMINISTRATOR: frozenset(
            {Permission.MANAGE_ACCOUNTS, Permission.DELEGATE, Permission.BACKUP, Permission.VERIFY},
        ),
    }
)
"""What each role may do; what is not listed is denied."""

EXCLUSIVE: Final = frozenset({Role.MONITOR, Role.ADMINISTRATOR})
"""Roles that leave no room for another in the same trial: the sponsor's monitor only reads what others recorded, and
whoever hands out roles uses none."""

WHY: Final[Mapping[tuple[Role, Permission], str]] = MappingProxyType(
    {
        (Role.INVESTIGATOR, Permission.ADJUDICATE_DECIDE): "who proposes a DLT does not settle it alone; an "
        "investigator on the committee is delegated as its member too",
        (Role.INVESTIGATOR, Permission.SIGN_DECISION): "the committee decides, with investigators as its members",
        (Role.INVESTIGATOR, Permission.CLOSE_QUERY): "the site answers; whoever reviews the data closes",
        (Role.INVESTIGATOR, Permission.AMEND_PROTOCOL): "the investigator answers for the protocol in force",
        (Role.INVESTIGATOR, Permission.DELEGATE): "the administrator enters the delegation log, so that nobody can "
        "extend a role of their own",
        (Role.COORDINATOR, Permission.ENROL): "confirming eligibility is a medical decision",
        (Role.COORDINATOR, Permission.ADJUDICATE_PROPOSE): "calling an event a DLT is a medical judgement",
        (Role.COORDINATOR, Permission.COMMITTEE_RECORD): "keeps the minutes; nothing is decided until members sign",
        (Role.COORDINATOR, Permission.EXPORT): "participant data leave the system through the investigator",
        (Role.STATISTICIAN, Permission.CORRECT): "who analyses the data does not change them",
        (Role.STATISTICIAN, Permission.CLOSE_QUERY): "reviews the data before a snapshot is taken",
        (Role.STATISTICIAN, Permission.SIGN_DECISION): "recommends, and so does not sign for the committee",
        (Role.COMMITTEE_MEMBER, Permission.TAKE_SNAPSHOT): "does not choose the data it decides on",
        (Role.COMMITTEE_MEMBER, Permission.RECOMMEND): "decides on a recommendation it did not make",
        (Role.COMMITTEE_MEMBER, Permission.EXPORT): "reads the meeting pack; the data stay in the system",
        (Role.MONITOR, Permission.CLOSE_QUERY): "the sponsor reads and asks, and changes nothing",
        (Role.ADMINISTRATOR, Permission.READ_TRIAL): "runs the system without needing to see participants",
        (Role.ADMINISTRATOR, Permission.EXPORT): "a backup is sealed; an export is read",
        (Role.ADMINISTRATOR, Permission.IMPORT_DATA): "importing is recording",
        (Role.ADMINISTRATOR, Permission.OPEN_TRIAL): "opening a trial is a clinical act",
        (Role.ADMINISTRATOR, Permission.SIGN_DECISION): "whoever hands out roles signs nothing clinical",
    }
)
"""Reasons for the choices a reader may question."""


class DelegationError(EscalationError):
    """A delegation that contradicts itself, or a day that is not a day."""


class PermissionRefused(EscalationError):
    """Something a person may not do, and why."""

    def __init__(self, user: str, permission: str, reason: str) -> None:
        super().__init__(user, permission, reason)
        self.user = user
        self.permission = permission
        self.reason = reason

    def __str__(self) -> str:
        return f"{_words(self.permission)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Delegation:
    """A person is given a role in a trial, from the first day to the last, both included.

    Without a last day the delegation runs until one is written. Nobody delegates to themselves:
    the first administrator is delegated by the installation.
    """

    user: str
    trial: str
    role: Role
    starts: date
    ends: date | None
    granted_by: str

    def __post_init__(self) -> None:
        for field in ("user", "trial", "granted_by"):
            if not getattr(self, field).strip():
                raise DelegationError(f"delegation: {field} is empty; say whom, where and by whom")
        if self.role not in MATRIX:
            raise DelegationError(f"delegation of {self.user}: {self.role!r} is not a role; one of {', '.join(Role)}")
        _a_day(self.starts, "starts")
        if self.ends is not None and _a_day(self.ends, "ends") < self.starts:
            raise DelegationError(f"delegation of {self.user}: ends {self.ends}, before it starts on {self.starts}")
        if self.granted_by == self.user:
            raise DelegationError(f"{self.user} cannot delegate a role to themselves; another administrator has to")
        if self.trial == EVERY_TRIAL and self.role != Role.ADMINISTRATOR:
            raise DelegationError(f"delegation of {self.user}: {self.role} is delegated trial by trial; name the trial")

    def covers(self, trial: str) -> bool:
        """Whether the delegation is about this trial."""
        return self.trial in (trial, EVERY_TRIAL)

    def runs(self, on: date) -> bool:
        """Whether the delegation is in force on this day."""
        return self.starts <= on and (self.ends is None or on <= self.ends)


class Ground(StrEnum):
    """Why something is allowed or refused, as a code that stays the same."""

    ALLOWED = "allowed"
    NOT_DELEGATED = "not_delegated"
    NOT_YET = "not_yet"
    ENDED = "ended"
    NOT_IN_ROLE = "not_in_role"
    EXCLUSIVE_ROLE = "exclusive_role"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a person may do something in a trial on a day, and why; true when they may."""

    user: str
    trial: str
    permission: Permission
    ground: Ground
    reason: str
    roles: tuple[Role, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.ground is Ground.ALLOWED

    def __bool__(self) -> bool:
        return self.allowed

    def enforce(self) -> tuple[Role, ...]:
        """The roles that allow it; raises :class:`PermissionRefused` when none does."""
        if not self.allowed:
            raise PermissionRefused(self.user, self.permission, self.reason)
        return self.roles


def who_may(permission: Permission) -> tuple[Role, ...]:
    """The roles that allow something."""
    return tuple(role for role in Role if permission in MATRIX[role])


def roles_held(delegations: Iterable[Delegation], user: str, trial: str, on: date) -> tuple[Role, ...]:
    """The roles a person holds in a trial on a day."""
    _a_day(on, "on")
    held = {Role(d.role) for d in delegations if d.user == user and d.covers(trial) and d.runs(on)}
    return tuple(role for role in Role if role in held)


def permitted(delegations: Iterable[Delegation], user: str, trial: str, permission: Permission, on: date) -> Decision:
    """Whether a person may do something in a trial on a day; a refusal carries its reason.

    >>> ada = Delegation("ada", "EX-1", Role.STATISTICIAN, date(2026, 3, 1), date(2026, 9, 30), "installation")
    >>> permitted([ada], "ada", "EX-1", Permission.RECOMMEND, date(2026, 9, 30)).allowed
    True
    >>> print(permitted([ada], "ada", "EX-1", Permission.RECOMMEND, date(2026, 10, 1)).reason)
    the delegation of ada in EX-1 ended on 2026-09-30
    >>> print(permitted([ada], "ada", "EX-1", Permission.SIGN_DECISION, date(2026, 9, 30)).reason)
    ada is statistician in EX-1, who may not sign decision (recommends, and so does not sign for the committee); needs
    committee member
    """
    _a_day(on, "on")
    own = [d for d in delegations if d.user == user and d.covers(trial)]
    held = roles_held(own, user, trial, on)
    if not held:
        ground, reason = _out_of_dates(own, user, trial, on)
        return Decision(user, trial, permission, ground, reason)
    alone = tuple(role for role in held if role in EXCLUSIVE)
    counting = alone or held
    giving = tuple(role for role in counting if permission in MATRIX[role])
    if giving and (not alone or giving == alone):
        return Decision(user, trial, permission, Ground.ALLOWED, "delegated as " + _titles(giving), giving)
    if any(permission in MATRIX[role] for role in held):
        reason = f"{user} is {_titles(alone)} in {trial}, and so uses no other role there"
        return Decision(user, trial, permission, Ground.EXCLUSIVE_ROLE, reason)
    because = "; ".join(WHY[role, permission] for role in counting if (role, permission) in WHY)
    reason = f"{user} is {_titles(counting)} in {trial}, who may not {_words(permission)}"
    reason += (f" ({because})" if because else "") + f"; needs {_titles(who_may(permission), ' or ') or 'nobody'}"
    return Decision(user, trial, permission, Ground.NOT_IN_ROLE, reason)


def _out_of_dates(own: list[Delegation], user: str, trial: str, on: date) -> tuple[Ground, str]:
    """Why none of a person's delegations in a trial counts on a day."""
    where = "this installation" if trial == EVERY_TRIAL else trial
    if not own:
        return Ground.NOT_DELEGATED, f"{user} has no delegation in {where}; an administrator has to enter one"
    ended = [d.ends for d in own if d.ends is not None and d.ends < on]
    coming = [d.starts for d in own if d.starts > on]
    said = ([f"ended on {max(ended)}"] if ended else []) + ([f"starts on {min(coming)}"] if coming else [])
    ground = Ground.ENDED if ended else Ground.NOT_YET
    return ground, f"the delegation of {user} in {where} " + " and the next ".join(said)


def _a_day(value: date, field: str) -> date:
    """A calendar day at the site; a moment is refused, its day depends on where one stands."""
    if isinstance(value, datetime) or not isinstance(value, date):
        raise DelegationError(f"{field}: {value!r} is not a calendar day; give the date at the site")
    return value


def _titles(roles: Iterable[Role], between: str = " and ") -> str:
    return between.join(role.words for role in roles)


_SAID: Final = {
    Permission.ADJUDICATE_PROPOSE: "propose a DLT",
    Permission.ADJUDICATE_DECIDE: "adjudicate a DLT",
    Permission.COMMITTEE_RECORD: "record what the committee decided",
}


def _words(permission: str) -> str:
    """A permission or a role as it stands in a sentence."""
    return _SAID.get(permission) or str(permission).replace("_", " ")  # type: ignore[call-overload]
