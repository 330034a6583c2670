"""Signatures: given with the password, bound to a record by its hash, void when the record changes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from escalation.conduct.account_tables import utc
from escalation.conduct.account_values import User
from escalation.conduct.passwords import AccountError, fault_in
from escalation.conduct.roles import Role

if TYPE_CHECKING:
    from escalation.conduct.accounts import Accounts


@dataclass(frozen=True, slots=True)
class Signature:
    """A person's signature: who, in what role, when, what it means, and the record it covers."""

    user: str
    printed_name: str
    role: Role
    meaning: str
    signed_at: datetime
    record_hash: str
    method: Literal["password re-entered"] = "password re-entered"

    def __post_init__(self) -> None:
        object.__setattr__(self, "signed_at", utc(self.signed_at))

    def __str__(self) -> str:
        when = f"{self.signed_at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{self.printed_name} ({self.user}), {Role(self.role).words}, {when}: {self.meaning} ({self.method})"


def sign(accounts: Accounts, user: User | str, password: str, role: Role, meaning: str, record_hash: str) -> Signature:
    """Sign a record with the password; whether the role may sign is for the caller to have asked."""
    if not meaning.strip() or fault_in(meaning, 500):
        raise AccountError(f"meaning of the signature: {fault_in(meaning, 500) or 'is empty'}; say what is signed for")
    if not re.fullmatch("[0-9a-f]{64}", record_hash):
        raise AccountError("a signature covers a record by its SHA-256, 64 hexadecimal digits; none was given")
    signer = accounts.confirm_password(user, password, f"as {Role(role).words}: {meaning}")
    return Signature(signer.name, signer.full_name, Role(role), meaning, accounts.now(), record_hash)


def still_valid(signature: Signature, record_hash: str) -> bool:
    """Whether a record is still the one that was signed."""
    return signature.record_hash == record_hash
