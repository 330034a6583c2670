"""Live conduct: every act of a running trial, with permission, gates and the ledger in one place.

The service recommends; people decide and dose. Permissions and gates are enforced here, never in a
screen; what is accepted is in the ledger before the caller hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import Any

from escalation import __version__
from escalation.conduct import canonical, gates
from escalation.conduct import records as r
from escalation.conduct.accounts import Accounts, Signature, User, sign
from escalation.conduct.acts import NEEDED, READING, must_be_plain
from escalation.conduct.backfilling import next_backfill
from escalation.conduct.corrections import ConductError as ConductError
from escalation.conduct.corrections import correction
from escalation.conduct.decisions import advice_form, gaps
from escalation.conduct.eligibility import Answer, evaluate, load_criteria
from escalation.conduct.ledger import Draft, Entry, IdempotencyError, stamp
from escalation.conduct.roles import EVERY_TRIAL, Delegation, Permission, PermissionRefused, Role, permitted
from escalation.conduct.state import ConductState, conduct_state, extended, proposal_hash
from escalation.conduct.store import Ledger
from escalation.conduct.treatment import infusion_findings, next_assignment
from escalation.conduct.windows import RecordedValueError
from escalation.errors import EscalationError
from escalation.study import Study

INSTALLATION = "installation"
"""The ledger's stream of what belongs to no single trial: the first administrator."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was accepted: the entries in the ledger and the version the trial now stands at."""

    entries: tuple[Entry, ...]

    @property
    def version(self) -> int:
        return self.entries[-1].seq


class Conduct:
    """The service of live conduct over a ledger and its accounts."""

    def __init__(self, ledger: Ledger, accounts: Accounts) -> None:
        self.ledger = ledger
        self.accounts = accounts
        self._known: dict[str, ConductState] = {}

    # reading ------------------------------------------------------------------------------

    def state(self, token: str, trial: str) -> ConductState:
        """The trial as it stands, to be read only; needs read permission."""
        self.authorise(token, trial, Permission.READ_TRIAL)
        return self._state(trial)

    def watched(self, token: str, trial: str) -> ConductState:
        """The trial as it stands, for a page that goes on showing what its reader has opened.

        Needs read permission as ``state`` does, but is neither use of the session nor written to the account log.
        """
        user, state = self.accounts.watching(token), self._state(trial)
        today = self.accounts.now().astimezone(state.zone).date()
        permitted(self.delegations(trial), user.name, trial, Permission.READ_TRIAL, today).enforce()
        return state

    def _state(self, trial: str) -> ConductState:
        known = self._known.get(trial)
        if known is not None:
            later = self.ledger.entries(trial, after=known.version)
            del self._known[trial]  # a fold that fails half-way leaves nothing behind
            if not extended(known, later):
                known = None
        if known is None:
            known = conduct_state(self.ledger.entries(trial))
        self._known[trial] = known
        return known

    def delegations(self, trial: str) -> list[Delegation]:
        """Delegations in force or ended, of the trial and of the installation."""
        found = []
        for stream in dict.fromkeys((INSTALLATION, trial)):
            where = EVERY_TRIAL if stream == INSTALLATION else trial
            found += [
                Delegation(each.user, where, Role(each.role), each.starts, each.ends, by)
                for each, by in self._state(stream).delegations
            ]
        return found

    def authorise(self, token: str, trial: str, permission: Permission) -> tuple[User, tuple[Role, ...]]:
        """The user of a session, with the roles that allow an act in a trial today; refusals and reading are logged."""
        user = self.accounts.authenticate(token)
        state = self._state(trial)
        today = self.accounts.now().astimezone(state.zone).date()
        answer = permitted(self.delegations(trial), user.name, trial, permission, today)
        if not answer.allowed:
            self.accounts.log_refusal(user.name, trial, permission, answer.reason)
            raise PermissionRefused(user.name, permission, answer.reason)
        if permission in READING:
            self.accounts.log_access(user.name, trial, permission)
        return user, answer.roles

    # installation and people ----------------------------------------------------------------

    def initialise(self, name: str, full_name: str, password: str) -> User:
        """The first administrator, delegated by the installation itself; only on an empty installation."""
        if self.ledger.head(INSTALLATION)[0]:
            raise ConductError("the installation has its first administrator already; sign in as administrator instead")
        user = self.accounts.create(name, full_name, password, by=INSTALLATION, temporary=False)
        yesterday = self.accounts.now().date() - timedelta(days=1)  # in force at once in every time zone
        record = r.Delegated(user=user.name, role=Role.ADMINISTRATOR, starts=yesterday)
        self._append(INSTALLATION, [record], actor=INSTALLATION, expected=0)
        return user

    def create_user(self, token: str, name: str, full_name: str, password: str) -> User:
        """A new account with a temporary password, by an administrator; its owner changes it before signing."""
        by, _ = self.authorise(token, INSTALLATION, Permission.MANAGE_ACCOUNTS)
        return self.accounts.create(name, full_name, password, by=by.name, temporary=True)

    def delegate(
        self,
        token: str,
        trial: str,
        user: str,
        role: Role,
        starts: date,
        ends: date | None = None,
        *,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Give a user a role in a trial, from a day to a day."""
        by, _ = self.authorise(token, trial, Permission.DELEGATE)
        user = self.accounts.user(user).name
        said = {"user": user, "role": str(role), "starts": starts.isoformat(), "ends": ends and ends.isoformat()}
        if first := self._first(trial, "delegated", by, key, **said):
            return first
        where = EVERY_TRIAL if trial == INSTALLATION else trial
        Delegation(user, where, role, starts, ends, by.name)  # refuses what no delegation can say
        record = r.Delegated(user=user, role=role, starts=starts, ends=ends)
        return self._append(trial, [record], actor=by.name, expected=expected_version, key=key)

    def end_delegation(
        self,
        token: str,
        trial: str,
        user: str,
        role: Role,
        ends: date,
        *,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """End a running delegation on a day; it can only be shortened."""
        by, _ = self.authorise(token, trial, Permission.DELEGATE)
        said = {"user": user, "role": str(role), "ends": ends.isoformat()}
        if first := self._first(trial, "delegation_ended", by, key, **said):
            return first
        running = [
            each
            for each in self.delegations(trial)
            if (each.user, each.role) == (user, role)
            and each.starts <= ends
            and (each.ends is None or ends < each.ends)
        ]
        if not running:
            raise ConductError(f"{user} has no delegation as {role.words} in {trial} that could end on {ends}")
        record = r.DelegationEnded(user=user, role=role, ends=ends)
        return self._append(trial, [record], actor=by.name, expected=expected_version, key=key)

    # the protocol ---------------------------------------------------------------------------

    def open_trial(
        self,
        token: str,
        trial: str,
        study: Study,
        password: str,
        *,
        zone: str = "UTC",
        criteria: str | None = None,
        signatures_needed: int = 1,
        draws: r.DrawStream | None = None,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Lock the protocol in by hash, signed; this opens the starting regimen.

        ``draws`` is the stream of a design that randomises, from its randomisation plan; without it the seed
        follows from the signature.
        """
        user, roles = self.authorise(token, trial, Permission.OPEN_TRIAL)
        if first := self._first(trial, "trial_opened", user, key, study_hash=study.hash):
            return first
        _must_have_one_group(study)
        data = study.as_dict()
        signature = self._sign(user, password, roles[0], "opens the trial under this protocol", study.hash)
        record = r.TrialOpened(
            study=data,
            study_hash=study.hash,
            zone=zone,
            criteria=criteria,
            signatures_needed=signatures_needed,
            draws=draws,
            signature=signature,
        )
        return self._gated(trial, record, user, expected=expected_version, key=key)

    def amend(
        self,
        token: str,
        trial: str,
        study: Study,
        password: str,
        from_date: date,
        reason: str,
        *,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Put an amended protocol in force from a date; earlier decisions keep theirs."""
        user, roles = self.authorise(token, trial, Permission.AMEND_PROTOCOL)
        said = {"study_hash": study.hash, "from_date": from_date.isoformat()}
        if first := self._first(trial, "protocol_amended", user, key, **said):
            return first
        _must_have_one_group(study)
        before = self._state(trial).in_force()
        if study.protocol.grid.shape != before.protocol.grid.shape:
            raise ConductError("an amendment cannot change the number of regimens; open another trial for that")
        amended = replace(self._state(trial), study=study)
        try:
            amended.trial_state()
            advice_form(amended)
        except (EscalationError, LookupError, ValueError) as error:
            raise ConductError(f"the amended protocol contradicts what was done: {error}") from None
        signature = self._sign(user, password, roles[0], "amends the protocol", study.hash)
        record = r.ProtocolAmended(
            study=study.as_dict(), study_hash=study.hash, from_date=from_date, signature=signature
        )
        return self._gated(trial, record, user, expected=expected_version, reason=reason, key=key)

    # records --------------------------------------------------------------------------------

    def record(
        self,
        token: str,
        trial: str,
        record: r.Record,
        *,
        expected_version: int | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Make a record that needs nothing worked out: screening, consent, infusions, events, visits, queries."""
        must_be_plain(self._state(trial), type(record))
        user, _ = self.authorise(token, trial, NEEDED[type(record)])
        if isinstance(record, r.InfusionRecorded):
            record = self._with_findings(trial, record)
        return self._gated(trial, record, user, expected=expected_version, reason=reason, key=key)

    def _with_findings(self, trial: str, record: r.InfusionRecorded) -> r.InfusionRecorded:
        """An infusion with what departs from the plan and does not block it, to be recorded with it."""
        state = self._state(trial)
        person = state.people.get(record.participant)
        if person is None or person.assigned is None:
            return record  # the gates refuse it
        try:
            found = infusion_findings(state, person, record)
        except RecordedValueError:
            return record  # and this
        return record.model_copy(update={"findings": tuple(each.message for each in found if not each.blocking)})

    def record_eligibility(
        self,
        token: str,
        trial: str,
        participant: str,
        answers: Sequence[Answer],
        *,
        anchors: Mapping[str, date] | None = None,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Evaluate the trial's criteria on the answers and record both; there is no way to set the verdict by hand."""
        user, _ = self.authorise(token, trial, Permission.RECORD_ELIGIBILITY)
        if first := self._first(trial, "eligibility_recorded", user, key, participant=participant):
            return first
        opened = self._state(trial).opened
        if opened is None or opened.criteria is None:
            raise ConductError("the trial was opened without machine-readable criteria; record the verdict instead")
        verdict = evaluate(load_criteria(opened.criteria), answers, anchors=anchors or {})
        record = r.EligibilityRecorded(
            participant=participant,
            answers=tuple(answer.model_dump(mode="json") for answer in answers),
            verdict=verdict.status,
            findings=tuple(f"{each.criterion}: {each.status}" for each in (*verdict.failed, *verdict.open)),
        )
        return self._gated(trial, record, user, expected=expected_version, key=key)

    def assign(
        self,
        token: str,
        trial: str,
        participant: str,
        *,
        backfill: bool = False,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Assign a participant to the open regimen, in the role that follows from the cohort.

        With ``backfill`` the participant goes to the regimen open for backfill that is filled first.
        """
        user, _ = self.authorise(token, trial, Permission.ENROL)
        if first := self._first(trial, "assigned", user, key, participant=participant):
            return first
        state = self._state(trial)
        record = next_backfill(state, participant) if backfill else next_assignment(state, participant)
        if record is None:
            where = "for backfill " if backfill else ""
            raise gates.GateRefused("assigned", (f"no regimen is open {where}(G1)",))
        expected = state.version if expected_version is None else expected_version
        return self._gated(trial, record, user, expected=expected, key=key)

    def adjudicate(
        self,
        token: str,
        trial: str,
        password: str,
        *,
        participant: str,
        adjudication: str,
        outcome: str,
        attribution: str,
        discussion: str,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Settle a proposed DLT, signed."""
        user, roles = self.authorise(token, trial, Permission.ADJUDICATE_DECIDE)
        said = {"participant": participant, "adjudication": adjudication, "outcome": outcome}
        if first := self._first(trial, "dlt_decided", user, key, **said):
            return first
        person = self._state(trial).people.get(participant)
        proposal = person.adjudications.get(adjudication) if person is not None else None
        content = {
            "proposal_hash": proposal_hash(proposal.proposed) if proposal is not None else "",
            "participant": participant,
            "adjudication": adjudication,
            "outcome": outcome,
            "attribution": attribution,
            "discussion": discussion,
        }
        signature = self._sign(user, password, roles[0], f"adjudicates the DLT as {outcome}", canonical.digest(content))
        record = r.DltDecided.model_validate({**content, "signature": signature})
        return self._gated(trial, record, user, expected=expected_version, key=key)

    def correct(
        self,
        token: str,
        trial: str,
        entry: int,
        field: str,
        new: Any,
        reason: str,
        *,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Replace one value of an earlier entry; old value, new value, who, when and why stay readable."""
        user, _ = self.authorise(token, trial, Permission.CORRECT)
        if first := self._first(trial, "corrected", user, key, entry=entry, field=field, new=new):
            return first
        if not reason.strip():
            raise ConductError("a correction needs its reason")
        record = correction(self.ledger.entries(trial), entry, field, new)
        return self._gated(trial, record, user, reason=reason, expected=expected_version, key=key)

    # the decision ---------------------------------------------------------------------------

    def snapshot(
        self, token: str, trial: str, *, expected_version: int | None = None, key: str | None = None
    ) -> Receipt:
        """Freeze the data a decision will rest on, with its gaps listed."""
        user, _ = self.authorise(token, trial, Permission.TAKE_SNAPSHOT)
        if first := self._first(trial, "snapshot_taken", user, key):
            return first
        state = self._state(trial)
        trial_state = state.trial_state()
        data = {
            "outcomes": state.outcomes(),
            "n": trial_state.n,
            "dlt": trial_state.dlt,
            "pending": trial_state.pending,
            "regimen": trial_state.regimen,
            "stage": trial_state.stage,
            "expansion": [trial_state.expansion_n, trial_state.expansion_dlt, trial_state.expansion_pending],
        }
        if trial_state.rule.backfill is not None:
            beside = (trial_state.backfill_n, trial_state.backfill_dlt, trial_state.backfill_pending)
            data |= {"backfill": [list(each) for each in beside], "responses": list(trial_state.responses)}
        record = r.SnapshotTaken(
            as_of=state.version, data=data, data_hash=canonical.digest(data), gaps=tuple(gaps(state))
        )
        expected = record.as_of if expected_version is None else expected_version
        return self._gated(trial, record, user, expected=expected, key=key)

    def recommend(
        self, token: str, trial: str, snapshot: int, *, expected_version: int | None = None, key: str | None = None
    ) -> Receipt:
        """What the design recommends on a snapshot, with reasons and look-ahead."""
        user, _ = self.authorise(token, trial, Permission.RECOMMEND)
        if first := self._first(trial, "recommended", user, key, snapshot=snapshot):
            return first
        state = self._state(trial)
        expected = state.version if expected_version is None else expected_version
        frozen = state.snapshots.get(snapshot)
        if frozen is None:
            raise ConductError(f"entry {snapshot} is no snapshot; take one first (G3)")
        study = state.in_force()
        record = r.Recommended(
            snapshot=snapshot,
            data_hash=frozen.data_hash,
            study_hash=study.hash,
            software=__version__,
            advice=advice_form(state),
        )
        return self._gated(trial, record, user, expected=expected, key=key)

    def sign_decision(
        self,
        token: str,
        trial: str,
        committee: int,
        password: str,
        *,
        expected_version: int | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Sign a committee record after re-entering the password; the last signature needed puts it in effect."""
        user, roles = self.authorise(token, trial, Permission.SIGN_DECISION)
        if first := self._first(trial, "decision_signed", user, key, committee=committee):
            return first
        covered = {entry.seq: entry for entry in self.ledger.entries(trial)}.get(committee)
        if covered is None or covered.type != "committee_recorded":
            raise ConductError(f"entry {committee} is no committee record")
        meaning = f"agrees to: {covered.payload['action'].replace('_', ' ')}"
        signature = self._sign(user, password, roles[0], meaning, covered.hash)
        record = r.DecisionSigned(committee=committee, signature=signature)
        return self._gated(trial, record, user, expected=expected_version, key=key)

    # helpers --------------------------------------------------------------------------------

    def _first(self, trial: str, kind: str, by: User, key: str | None, /, **said: Any) -> Receipt | None:
        """The first receipt of an act sent again under its key, before any of it is worked out or signed anew."""
        for entry in self.ledger.entries(trial) if key is not None else ():
            if entry.idempotency_key == key:
                same = (entry.type, entry.actor) == (kind, by.name)
                if not same or any(entry.payload[name] != value for name, value in said.items()):
                    raise IdempotencyError(trial, entry.idempotency_key or "", entry.seq)
                return Receipt((entry,))
        return None

    def _sign(self, user: User, password: str, role: Role, meaning: str, record_hash: str) -> dict[str, Any]:
        signature: Signature = sign(self.accounts, user, password, role, meaning, record_hash)
        plain = asdict(signature)
        plain["role"] = str(signature.role)
        plain["signed_at"] = stamp(signature.signed_at)
        return plain

    def _gated(
        self,
        trial: str,
        record: r.Record,
        user: User,
        *,
        expected: int | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Append a record when every gate lets it pass; the version it was checked against must still hold."""
        state = self._state(trial)
        if key is not None:
            for entry in self.ledger.entries(trial):
                if entry.idempotency_key == key:
                    return self._again(entry, record, user)
        if expected is None or expected == state.version:
            gates.check(state, record, self.accounts.now())
        return self._append(
            trial,
            [record],
            actor=user.name,
            expected=state.version if expected is None else expected,
            reason=reason,
            key=key,
        )

    @staticmethod
    def _again(entry: Entry, record: r.Record, user: User) -> Receipt:
        """The first receipt of a record sent again under its key."""
        same = entry.payload == record.model_dump(mode="json", exclude={"type"}) and entry.actor == user.name
        if not same or entry.type != getattr(record, "type", ""):
            raise IdempotencyError(entry.trial, entry.idempotency_key or "", entry.seq)
        return Receipt((entry,))

    def _append(
        self,
        trial: str,
        records: Sequence[r.Record],
        *,
        actor: str,
        expected: int | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        now = stamp(self.accounts.now())
        drafts = []
        for record in records:
            payload = record.model_dump(mode="json", exclude={"type"})
            kind = str(getattr(record, "type", ""))
            drafts.append(Draft(kind, payload, r.effective_of(record) or now, reason, key))
        version = self.ledger.head(trial)[0] if expected is None else expected
        return Receipt(self.ledger.append(trial, drafts, actor=actor, expected_version=version))


def _must_have_one_group(study: Study) -> None:
    """Refuse a randomised study: records, assignments and decisions here are those of one group."""
    if study.family == "two_arm":
        raise ConductError(
            f"{study.id} randomises between two groups, and live conduct neither randomises nor records a control "
            "group; use it for planning, and conduct the trial where randomisation is concealed"
        )
