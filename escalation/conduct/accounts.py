"""Accounts of the people in a trial: signing in, sessions, and the log of all of it.

Three tables. ``accounts`` and ``sessions`` change; ``account_log`` only grows, the database itself
refuses to change or delete its rows. Times come from one injectable clock and are kept as UTC text.
Every transaction begins with its write, so that two of them cannot both act on the same old row.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from escalation.conduct.account_tables import (
    WIDTHS,
    Moment,
    accounts_table,
    log_table,
    sessions_table,
    utc,
)
from escalation.conduct.account_values import (
    ABSOLUTE,
    IDLE,
    LOCK_TIME,
    MOST_FAILURES,
    AccountEvent,
    LockedError,
    LogEntry,
    SessionEnd,
    SessionEndedError,
    SignedIn,
    SignInError,
    User,
)
from escalation.conduct.passwords import (
    AccountError,
    Hidden,
    PasswordPolicyError,
    Passwords,
    check_names,
    check_policy,
    key_of,
    printable,
)
from escalation.conduct.signatures import Signature, sign, still_valid

__all__ = [
    "ABSOLUTE",
    "IDLE",
    "LOCK_TIME",
    "MOST_FAILURES",
    "AccountError",
    "AccountEvent",
    "Accounts",
    "LockedError",
    "LogEntry",
    "PasswordPolicyError",
    "SessionEnd",
    "SessionEndedError",
    "SignInError",
    "Signature",
    "SignedIn",
    "User",
    "sign",
    "still_valid",
]

_UNLOCKED: Final[dict[str, Any]] = {"failures": 0, "locked_until": None}


def _name(user: User | str) -> str:
    return user if isinstance(user, str) else user.name


def _token_hash(token: str) -> Hidden:
    return Hidden(hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest())


def _user(row: Row[Any]) -> User:
    return User(row.name, row.full_name, row.active, row.temporary)


class Accounts:
    """The accounts of one database. Whether someone may do something is for roles and delegations to say."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        passwords: Passwords | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._passwords = passwords or Passwords()

    def now(self) -> datetime:
        """The moment by this installation's clock, in UTC."""
        return utc(self._clock())

    def create(
        self, name: str, full_name: str, password: str, *, by: User | str, temporary: bool = False, active: bool = True
    ) -> User:
        """A new account; ``temporary`` when somebody else than its owner knows the password."""
        check_names(name, full_name)
        check_policy(password, name, full_name)
        row = {"name": name, "key": key_of(name), "full_name": full_name, "active": active, "temporary": temporary}
        row |= {"password_hash": self._passwords.hash(password), "password_version": 1, "failures": 0}
        try:
            with self._engine.begin() as connection:
                connection.execute(accounts_table.insert().values(**row, created_at=self.now()))
                detail = f"{full_name}, {'active' if active else 'not active'}"
                self._log(connection, AccountEvent.CREATED, name, by, detail)
        except sa.exc.IntegrityError:
            raise AccountError(f"code name {name}: there is an account of this name; choose another") from None
        return User(name, full_name, active, temporary)

    def user(self, name: str) -> User:
        """The account of a code name, however it is capitalised."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(accounts_table).where(accounts_table.c.key == key_of(name))).first()
        if row is None:
            raise AccountError("there is no account of this code name; an administrator can create one")
        return _user(row)

    def users(self) -> tuple[User, ...]:
        """All accounts, by code name."""
        with self._engine.connect() as connection:
            return tuple(map(_user, connection.execute(sa.select(accounts_table).order_by(accounts_table.c.key))))

    def change_password(self, user: User | str, current: str, new: str) -> None:
        """The owner chooses another password; every session ends."""
        owner = self.user(_name(user))
        if new == current:
            raise PasswordPolicyError("the new password is the present one; choose another")
        check_policy(new, owner.name, owner.full_name)
        self._prove(
            owner.name,
            current,
            AccountEvent.NOT_CONFIRMED,
            lambda connection, known: self._password_is_new(connection, known.name, known.name, temporary=False),
            password_hash=self._passwords.hash(new),
            password_version=accounts_table.c.password_version + 1,
            temporary=False,
        )

    def reset_password(self, user: User | str, new: str, *, by: User | str) -> None:
        """Give a temporary password to somebody who forgot theirs; ends every session and a lock."""
        owner = self.user(_name(user))
        check_policy(new, owner.name, owner.full_name)
        version = accounts_table.c.password_version + 1
        changed = {"password_hash": self._passwords.hash(new), "password_version": version, "temporary": True}
        with self._engine.begin() as connection:
            self._change(connection, owner, sa.true(), **changed | _UNLOCKED)
            self._password_is_new(connection, owner.name, by, temporary=True)

    def deactivate(self, user: User | str, *, by: User | str, reason: str) -> None:
        """Close an account from this moment on; every session ends."""
        with self._engine.begin() as connection:
            name = self._change(connection, user, accounts_table.c.active.is_(True), active=False)
            self._end(connection, sessions_table.c.account == name, SessionEnd.DEACTIVATED)
            self._log(connection, AccountEvent.DEACTIVATED, name, by, reason)

    def reactivate(self, user: User | str, *, by: User | str, reason: str) -> None:
        """Open a closed account again."""
        with self._engine.begin() as connection:
            name = self._change(connection, user, accounts_table.c.active.is_(False), active=True)
            self._log(connection, AccountEvent.REACTIVATED, name, by, reason)

    def unlock(self, user: User | str, *, by: User | str, reason: str) -> None:
        """End a lock before its time, for somebody who is known to be who they are."""
        with self._engine.begin() as connection:
            name = self._change(connection, user, accounts_table.c.locked_until.is_not(None), **_UNLOCKED)
            self._log(connection, AccountEvent.UNLOCKED, name, by, reason)

    def sign_in(self, name: str, password: str) -> SignedIn:
        """Begin a session with a name and a password; a refusal is the same whatever its reason, and costs the same."""
        token = secrets.token_urlsafe(32)
        starts = self.now()

        def begin(connection: Connection, known: Row[Any]) -> None:
            row = {"token_hash": _token_hash(token), "account": known.name, "started_at": starts, "seen_at": starts}
            connection.execute(sessions_table.insert().values(row))
            self._log(connection, AccountEvent.SIGNED_IN, known.name)

        try:
            user = self._prove(name, password, AccountEvent.FAILED, begin)
        except LockedError:
            raise SignInError from None
        return SignedIn(user, token, starts + ABSOLUTE)

    def authenticate(self, token: str) -> User:
        """The person whose session this is, asked at every call; the session counts as used."""
        now = self.now()
        mine = sessions_table.c.token_hash == _token_hash(token)
        lives = sa.and_(
            sessions_table.c.ended_at.is_(None),
            sessions_table.c.seen_at > now - IDLE,
            sessions_table.c.started_at > now - ABSOLUTE,
            sa.exists().where(accounts_table.c.name == sessions_table.c.account, accounts_table.c.active.is_(True)),
        )
        use = sessions_table.update().where(mine, lives).values(seen_at=now).returning(sessions_table.c.account)
        with self._engine.begin() as connection:
            name = connection.execute(use).scalar()
            if name is not None:
                row = connection.execute(sa.select(accounts_table).where(accounts_table.c.name == name)).one()
                return _user(row)
            self._end_expired(connection, mine)
            ended = connection.execute(sa.select(sessions_table.c.ended).where(mine)).scalar()
        raise SessionEndedError(SessionEnd(ended) if ended else SessionEnd.UNKNOWN)

    def sign_out(self, token: str) -> None:
        """End a session; one that has ended already stays as it is."""
        mine = sessions_table.c.token_hash == _token_hash(token)
        with self._engine.begin() as connection:
            self._end_expired(connection, mine)
            self._end(connection, mine, SessionEnd.SIGNED_OUT)

    def end_expired(self) -> None:
        """Write into the log the time-outs nobody came back to notice."""
        with self._engine.begin() as connection:
            self._end_expired(connection, sa.true())

    def confirm_password(self, user: User | str, password: str, purpose: str = "") -> User:
        """Make sure, before something is signed, that the person at the keyboard is who signed in."""

        def confirmed(connection: Connection, known: Row[Any]) -> None:
            event = AccountEvent.NOT_CONFIRMED if known.temporary else AccountEvent.CONFIRMED
            self._log(connection, event, known.name, detail="temporary password" if known.temporary else purpose)

        signer = self._prove(_name(user), password, AccountEvent.NOT_CONFIRMED, confirmed)
        if signer.temporary_password:
            raise AccountError("somebody else knows this password; choose your own before signing")
        return signer

    def log_access(self, user: User | str, trial: str, permission: str) -> None:
        """Write that something was read; what is recorded tells of itself in the ledger."""
        with self._engine.begin() as connection:
            self._log(connection, AccountEvent.ACCESSED, _name(user), trial=trial, permission=permission)

    def log_refusal(self, user: User | str, trial: str, permission: str, reason: str) -> None:
        """Write that something was not permitted. It commits by itself: call it outside other transactions."""
        with self._engine.begin() as connection:
            event = AccountEvent.PERMISSION_REFUSED
            self._log(connection, event, _name(user), detail=reason, trial=trial, permission=permission)

    def log(self, *, account: str | None = None, trial: str | None = None, after: int = 0) -> tuple[LogEntry, ...]:
        """The account log in the order written: all of it, or what concerns one account or one trial."""
        query = sa.select(log_table).where(log_table.c.seq > after).order_by(log_table.c.seq)
        if account is not None:
            query = query.where(log_table.c.account == account)
        if trial is not None:
            query = query.where(log_table.c.trial == trial)
        with self._engine.connect() as connection:
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return tuple(LogEntry(**row | {"event": AccountEvent(row["event"])}) for row in rows)

    def _prove(
        self,
        name: str,
        password: str,
        failed: AccountEvent,
        then: Callable[[Connection, Row[Any]], None],
        **values: Any,
    ) -> User:
        """Whose password this is. The failure is counted first and taken back when the password is right.

        Guesses made at the same time therefore cannot share a place: the sixth finds the account locked
        before any password has been looked at.
        """
        now = self.now()
        try:
            known = self._count_failure(key_of(name), now)
        except LockedError:
            self._passwords.verify(None, password)  # a locked account takes as long to answer as an unknown one
            raise
        right = self._passwords.verify(known.password_hash if known else None, password)
        if known and right:
            rehash = "password_hash" not in values and self._passwords.needs_rehash(known.password_hash)
            if rehash:
                values["password_hash"] = self._passwords.hash(password)
            same = accounts_table.c.name == known.name, accounts_table.c.password_version == known.password_version
            take_back = accounts_table.update().where(*same, accounts_table.c.active.is_(True))
            with self._engine.begin() as connection:
                if connection.execute(take_back.values(**_UNLOCKED, **values)).rowcount:
                    if rehash:
                        self._log(connection, AccountEvent.PASSWORD_REHASHED, known.name)
                    then(connection, known)
                    return _user(known)
        why = "unknown user name" if known is None else "wrong password" if not right else "the account is not active"
        locked = known is not None and known.failures >= MOST_FAILURES
        with self._engine.begin() as connection:
            self._log(connection, failed, known.name if known else None, detail=why)
            if known and locked:
                self._log(connection, AccountEvent.LOCKED, known.name, detail=f"until {known.locked_until.isoformat()}")
        if known and locked:
            raise LockedError(known.locked_until)
        raise SignInError

    def _count_failure(self, key: str, now: datetime) -> Row[Any] | None:
        """The account as it is after one more failure, or none; raises when it is locked."""
        table, until = accounts_table, accounts_table.c.locked_until
        failures = sa.case((until.is_not(None), 1), else_=table.c.failures + 1)  # a lock still set here has run out
        lock = sa.case((failures >= MOST_FAILURES, sa.literal(now + LOCK_TIME, Moment)), else_=sa.null())
        count = table.update().where(table.c.key == key, until.is_(None) | (until <= now))
        with self._engine.begin() as connection:
            counted = connection.execute(count.values(failures=failures, locked_until=lock).returning(*table.c)).first()
            locked = None if counted else connection.execute(sa.select(table).where(table.c.key == key)).first()
            if locked:
                self._log(connection, AccountEvent.REFUSED_LOCKED, locked.name)
        if locked:
            raise LockedError(locked.locked_until or now)
        return counted

    def _change(self, connection: Connection, user: User | str, when: sa.ColumnElement[bool], **values: Any) -> str:
        """Change an account and return its name; raises when there is none or it is so already."""
        mine = accounts_table.c.key == key_of(_name(user))
        change = accounts_table.update().where(mine, when).values(**values)
        name = connection.execute(change.returning(accounts_table.c.name)).scalar()
        if name is None:
            raise AccountError("there is no account of this code name, or it is so already; look at the list")
        return str(name)

    def _password_is_new(self, connection: Connection, name: str, by: User | str, *, temporary: bool) -> None:
        self._end(connection, sessions_table.c.account == name, SessionEnd.PASSWORD_CHANGED)
        event = AccountEvent.PASSWORD_RESET if temporary else AccountEvent.PASSWORD_CHANGED
        self._log(connection, event, name, by)

    def _end_expired(self, connection: Connection, which: sa.ColumnElement[bool]) -> None:
        now = self.now()
        self._end(connection, which & (sessions_table.c.started_at <= now - ABSOLUTE), SessionEnd.ABSOLUTE)
        self._end(connection, which & (sessions_table.c.seen_at <= now - IDLE), SessionEnd.IDLE)

    def _end(self, connection: Connection, which: sa.ColumnElement[bool], why: SessionEnd) -> None:
        """End sessions that have not ended, each with its line in the log."""
        end = sessions_table.update().where(which, sessions_table.c.ended_at.is_(None))
        end = end.values(ended_at=self.now(), ended=why.value)
        for name in connection.execute(end.returning(sessions_table.c.account)).scalars().all():
            self._log(connection, AccountEvent.SESSION_ENDED, name, detail=why)

    def _log(
        self,
        connection: Connection,
        event: AccountEvent,
        account: str | None,
        actor: User | str | None = None,
        detail: str = "",
        *,
        trial: str | None = None,
        permission: str | None = None,
    ) -> None:
        """Add a line, made printable. What somebody typed in order to sign in never comes here."""
        texts = {"account": account, "actor": None if actor is None else _name(actor), "detail": detail}
        texts |= {"trial": trial, "permission": permission}
        row = {name: printable(text, WIDTHS[name]) for name, text in texts.items() if text is not None}
        connection.execute(log_table.insert().values(at=self.now(), event=event.value, **row))
