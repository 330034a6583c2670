"""What people sign in with: code names that cannot be mistaken, and passwords that are never shown.

Passwords are kept as argon2id with the library's own cost. Both sides of a comparison are brought to
one Unicode form first, so that a password typed on another keyboard stays the same password.
"""

from __future__ import annotations

import base64
import re
import secrets
import unicodedata
from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from escalation.errors import EscalationError

SHORTEST: Final = 12
LONGEST: Final = 1024
"""Characters; above it is not a password but an attempt to keep the server busy."""
AT_ONCE: Final = 4
"""Passwords worked on at the same time; each takes 64 MiB at the library's cost."""


_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that show nothing."""


_KEPT: Final = frozenset({"installation", "system"})


class AccountError(EscalationError):
    """An account, a name or a signature that cannot be made or changed as asked."""


class PasswordPolicyError(EscalationError):
    """A new password that cannot be accepted; says what to change, never what was typed."""


class Hidden(str):
    """Text that takes part in comparisons and statements but shows itself in no ``repr``, hence in no log.

    >>> Hidden("correct horse battery staple")
    <hidden>
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<hidden>"


def check_policy(password: str, *names: str) -> None:
    """Refuse a new password that is short, one repeated character or the name of its owner.

    No mixture of character classes is asked for: it makes passwords harder to remember and not
    harder to guess (NIST SP 800-63B).

    >>> check_policy("a walk along the river")
    >>> check_policy("short")
    Traceback (most recent call last):
    ...
    escalation.conduct.passwords.PasswordPolicyError: the password has fewer than 12 characters; a sentence works well
    """
    plain = _one_form(password[: LONGEST + 1])
    if len(plain) < SHORTEST:
        raise PasswordPolicyError(f"the password has fewer than {SHORTEST} characters; a sentence works well")
    if len(password) > LONGEST or len(plain) > LONGEST:
        raise PasswordPolicyError(f"the password has more than {LONGEST} characters; make it shorter")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in plain):
        raise PasswordPolicyError("the password has control characters; leave them out")
    folded = plain.casefold().strip()
    if len(set(folded)) <= 1:
        raise PasswordPolicyError("the password is one character repeated; a sentence works well")
    if folded in {_one_form(name).casefold().strip() for name in names}:
        raise PasswordPolicyError("the password is the name of its owner; choose something others do not know")


class Passwords:
    """The keeper of passwords: makes the stored form, compares with it, and says when it has grown weak."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hash_of_nothing()
        self._turns = BoundedSemaphore(AT_ONCE)

    def hash(self, password: str) -> Hidden:
        """The form in which a password is stored."""
        with self._turns:
            return Hidden(self._hasher.hash(_as_bytes(password)))

    def verify(self, stored: str | None, password: str) -> bool:
        """Whether a password is the stored one.

        Without a stored one the answer is no after the same work, so that the time taken does not
        tell whether a user exists.
        """
        too_long = len(password) > LONGEST
        known = stored if stored is not None and not too_long else self._nobody
        try:
            with self._turns:
                self._hasher.verify(known, _as_bytes("" if too_long else password))
        except (VerificationError, InvalidHashError):
            return False
        return known is not self._nobody

    def needs_rehash(self, stored: str) -> bool:
        """Whether a stored password was made at another cost than new ones are."""
        return self._hasher.check_needs_rehash(stored)

    def _hash_of_nothing(self) -> Hidden:
        """A well-formed hash at the present cost that no password is known to have."""
        hasher = self._hasher
        cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
        salt, digest = (_base64(secrets.token_bytes(size)) for size in (hasher.salt_len, hasher.hash_len))
        return Hidden(f"$argon2{hasher.type.name.lower()}$v={ARGON2_VERSION}${cost}${salt}${digest}")


def check_names(name: str, full_name: str) -> None:
    """Refuse names that could be taken for another, hide a part of themselves or turn the text around.

    >>> check_names("byron-a", "Augusta Ada Byron")
    >>> check_names("byron\\u202ea", "Ada")
    Traceback (most recent call last):
    ...
    escalation.conduct.passwords.AccountError: code name: has control, invisible or direction-changing characters
    """
    fault = fault_in(name, 64)
    if not fault and unicodedata.normalize("NFKC", name) != name:
        fault = "has full-width, joined or other look-alike letters; type them plainly"
    if not fault and not (name[0].isalnum() and key_of(name)):
        fault = "begins with a letter or digit and has only letters, digits, and . _ - @"
    if not fault and key_of(name) in _KEPT:
        fault = "is kept for what no person does"
    if not fault and not _one_script(name):
        fault = "mixes letters of alphabets that look alike"
    if fault:
        raise AccountError(f"code name: {fault}")
    if fault := fault_in(full_name, 200):
        raise AccountError(f"full name: {fault}")


def fault_in(text: str, longest: int) -> str:
    """What is wrong with a text that is shown to people, or nothing."""
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in text):
        return "has control, invisible or direction-changing characters"
    if _INVISIBLE.search(text):
        return "has control, invisible or direction-changing characters"
    if unicodedata.normalize("NFC", text) != text:
        return "is not composed Unicode (NFC)"
    if text != text.strip() or not 1 <= len(text) <= longest:
        return f"has 1 to {longest} characters and no space around them"
    return ""


def _one_script(name: str) -> bool:
    """Whether the letters are of one alphabet; East Asian letters go with Latin ones."""
    scripts = {unicodedata.name(c, "?").split()[0] for c in name if c.isalpha()}
    return len(scripts - {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO"}) <= 1


def key_of(typed: str) -> str:
    """The form in which code names are compared; empty when no account can have it."""
    if len(typed) > 64:
        return ""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", typed).casefold()).strip()
    return folded if all(c.isalnum() or c in "._-@" or unicodedata.category(c)[0] == "M" for c in folded) else ""


def printable(text: str, longest: int) -> str:
    """Text for the log: what cannot be shown is replaced, what is too long is cut."""
    flat = " ".join(text[:longest].splitlines())
    return "".join(c if c.isprintable() or unicodedata.category(c) == "Zs" else "\ufffd" for c in flat)


def _one_form(text: str) -> str:
    """Compatibility-composed text: full-width and decomposed letters are what they look like."""
    return unicodedata.normalize("NFKC", text)


def _as_bytes(password: str) -> bytes:
    return _one_form(password).encode("utf-8", "surrogatepass")


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")
