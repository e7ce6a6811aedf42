"""A whole exported log, from its first entry: every decision decided again from the state before it. From `formats.md`, Log.

Nothing is taken from a database or from the boundary: entries, hash tiles, blobs, checkpoint, and the roster that is trusted.
"""

import os

import documents
import programs
import rules
from bundle import (
    NotChecked,
    check_boundary_signature,
    check_decision,
    check_outcome,
    check_plan,
    check_receipt_subjects,
    check_roster_in_seal,
    check_sandbox,
    check_session,
    check_item,
    check_spent,
    check_step,
    check_use_signature,
    count_people,
    logged,
    plan_of,
    read_authorization,
    who_may_not,
)
from globs import matches
from grants import Uses, check_nobody, count_signers
from log import Checkpoint, Note, Tree, leaf_hash
from passkeys import by_passkey
from reviews import Reviews, Run
from revocations import Revocations
from roster import Chain, Roster, envelopes_of
from sandbox import Configuration
from wire import Bad, Envelope, Open, canonical, pae, reference, seconds, strict, strict_canonical

KINDS = ("seal", "authorization", "consumption", "receipt", "denial", "refusal", "revocation", "grant", "review")
# What the receipts of a summary are for: one line a decision.
BLOB = 4 << 20
# A blob with versions of the roster.
ROSTERS = 32 << 20
# A run may have waited for room before its receipt; after a day more than it may last it is not going on.
PATIENCE = 24 * 3600
# The longest that a session lasts.
SESSION = 7 * rules.DAY
# Lists of programs that are remembered.
LISTS = 64
# No step may permit an older plan.
PLAN = 30 * 24 * 3600


class Sealed:
    """One seal and all that it names."""

    def __init__(self, index, digest, seal):
        self.index, self.digest, self.seal = index, digest, seal
        self.roster = self.policy = self.tokens = self.steps = self.configuration = None
        # Steps that other steps name as their plan.
        self.plans = set()
        # By ref: what holds for a step, and its profile.
        self.policies, self.profiles = {}, {}
        self.longest, self.builtins, self.passkeys = 0, None, None

    def token(self, name, at):
        """The sealed token of this name, unless it has ended."""
        token = (self.tokens or {}).get(name)
        ended = token is not None and "expires_at" in token and seconds(token["expires_at"]) <= at
        return None if ended else token

    def policy_for(self, ref):
        """What policy says of a sealed step."""
        if self.steps is None or ref not in self.steps or self.policy is None:
            raise Bad("no step or no policy to decide by")
        return self.policies.get(ref) or rules.Policy(self.policy, ref, self.builtins)


class History:
    """`findings`: triples of entry (or None), word, detail. `decisions`: one for each receipt. `open`: consumptions without one."""

    def __init__(self, export, trusted, known=(), versions=(), earlier=(), decisions=None):
        self.export, self.trusted, self.known = export, trusted, list(known)
        # Envelopes of the roster's versions, where the roster's file has them: signatures of later versions.
        self.versions = list(versions)
        self.findings, self.decisions = [], [] if decisions is None else decisions
        self.sealed, self.id, self.name = None, None, None
        # By entry and item: what was spent and has no receipt yet.
        self.rosters, self.denials, self.spent = [], {}, {}
        # Envelopes of authorizations that no consumption has named yet, with their entries.
        self.waiting = []
        # By nonce, proposal and item: the place of the first use, and its end. What has ended is dropped once an hour.
        self.used, self.dropped_at = {}, 0
        self.last_at, self.step_cache, self.named, self.chain = 0, {}, None, None
        # By digest: lists of programs that profiles name.
        self.lists = {}
        self.past_epochs, self.gone_tokens, self.last_tokens = set(), set(), {}
        self.exclusive, self.unguarded, self.not_checked = {}, set(), {}
        # By id of a session: the place of a consumption without a receipt, and the state that the last receipt left.
        self.sessions = {}
        # By digest of its payload: entry and facts of a plan's receipt.
        self.plans = {}
        self.revocations = Revocations()
        self.grants = Uses()
        self.reviews = Reviews()
        # Keys of types that are not verified here, in the rosters that were in force.
        self.foreign = []
        self.earlier = earlier
        try:
            self.read()
        except Untrusted:
            raise
        except Bad as error:
            self.say(None, "log", error)

    def say(self, index, word, detail):
        self.findings.append((index, word, str(detail)))

    def attempt(self, index, word, work):
        try:
            return work()
        except Bad as error:
            self.judge(index, word, error)
        except Open as error:
            # What can't be decided is not sound.
            self.say(index, word, f"not checked: {error}")
        return None

    def judge(self, index, word, error):
        self.say(index, error.reason if error.reason in ("sealed-state", "revoked") else word, error)

    def read(self):
        note = Note(self.export.read("checkpoint").decode("utf-8", "replace"))
        checkpoint = Checkpoint(note.text)
        self.learn_rosters(checkpoint.size)
        tree, wanted = Tree(), {}
        for path, text in self.earlier:
            old = self.attempt(None, "checkpoint", lambda: self.earlier_head(path, text))
            if old is not None:
                wanted.setdefault(old[1].size, []).append(old)
        index = -1
        for index, data in enumerate(self.export.entries(checkpoint.size)):
            tree.push(leaf_hash(data))
            self.entry(index, data)
            for signed, old in wanted.pop(tree.size, []):
                if self.sealed is None or self.sealed.roster is None:
                    continue
                public = [key.public for key in self.sealed.roster.boundary_keys(self.name).values()]
                self.attempt(None, "checkpoint", lambda: signed.check_signed(checkpoint.origin, public))
                if old.root != tree.root() or old.origin != checkpoint.origin:
                    self.say(index, "fork", f"an earlier checkpoint of size {old.size} had another root")
        for size in wanted:
            self.say(None, "cut", f"an earlier checkpoint had {size} entries, there are {tree.size}")
        if tree.root() != checkpoint.root:
            self.say(None, "checkpoint", "the entries give another root than the checkpoint's")
        self.export.check_upper_tiles()
        if self.sealed is None or self.sealed.roster is None:
            self.say(None, "checkpoint", "no seal whose roster could say who signs it")
        else:
            origin = f"{self.name}/{self.id.split(':')[1][:16]}"
            if checkpoint.origin != origin:
                raise Bad(f"the checkpoint is of {checkpoint.origin}, this log is {origin}")
            public = [key.public for key in self.sealed.roster.boundary_keys(self.name).values()]
            self.attempt(None, "checkpoint", lambda: note.check_signed(origin, public))
        self.open = list(self.spent)
        for index, item in self.open:
            spent = self.spent[index, item]
            if seconds(spent["consumption"]["at"]) + spent["sealed"].longest // 1000 + PATIENCE < self.last_at:
                self.say(index, "overdue", f"item {item} has no receipt, although the log goes on for longer than it may last")

    @staticmethod
    def earlier_head(path, text):
        note = Note(text)
        head = Checkpoint(note.text)
        if os.path.basename(os.path.dirname(path)) == "checkpoints" and os.path.basename(path) != str(head.size):
            raise Bad(f"{path} is a head of {head.size} entries: its name was changed")
        return note, head

    def learn_rosters(self, size):
        """A newer roster than the first seal names may be the trusted one: the versions that later seals bring lead there."""
        last = None
        for data in self.export.entries(size):
            try:
                payload = Envelope(strict(data, 65535)).payload
                if b'"rosters":"sha256:' not in payload:
                    continue
                seal = documents.read("seal", payload)
                if seal["rosters"] != last:
                    last = seal["rosters"]
                    self.known += [Roster(one.payload) for one in envelopes_of(self.json_blob(last, ROSTERS))]
            except (Bad, KeyError, TypeError):
                # What is wrong with it is said where it is judged.
                continue

    def entry(self, index, data):
        """One leaf: what it is, who signed it, what it changes."""
        kind, envelope, predicate, error = parse(data)
        if kind not in ("authorization", "consumption"):
            self.drop_waiting()
        if error:
            self.judge(index, kind if kind in ("revocation", "grant", "review") else "entry", error)
            return
        if kind == "authorization" and self.sealed is not None:
            if self.attempt(index, "entry", lambda: read_authorization(envelope)):
                self.waiting.append((index, envelope))
                self.attempt(index, "entry", lambda: self.read_list(predicate["sandbox"]))
                self.drop_waiting(16)
            return
        if "at" in predicate:
            at = seconds(predicate["at"])
            if at < self.last_at:
                self.say(index, "time", f"{predicate['at']} is before what stands earlier in the log")
            self.last_at = max(at, self.last_at)
        if kind != "seal" and (self.sealed is None or self.sealed.roster is None):
            self.say(index, kind, "no seal is in force that could be read")
            return
        {
            "seal": self.read_seal,
            "consumption": self.read_consumption,
            "receipt": self.read_receipt,
            "denial": self.read_denial,
            "refusal": self.read_refusal,
            "revocation": self.read_revocation,
            "grant": self.read_grant,
            "review": self.read_review,
        }[kind](index, envelope, predicate)

    def read_list(self, sandbox):
        """The programs of the list that a profile names, or None."""
        named = sandbox.get("programs")
        if named is not None and named not in self.lists:
            if len(self.lists) == LISTS:
                self.lists.clear()
            listed = strict_canonical(self.export.blob(named), programs.MOST_BYTES)
            programs.check_named(sandbox, listed)
            self.lists[named] = listed
        return self.lists.get(named)

    def by_boundary(self, index, kind, envelope, sealed=None):
        sealed = sealed or self.sealed
        self.attempt(index, "revoked", lambda: self.revocations.check_signers(envelope, index))
        return self.attempt(index, kind, lambda: check_boundary_signature(envelope, sealed.roster, self.name))

    # Seals.

    def read_seal(self, index, envelope, seal):
        if (index == 0) != (seal["number"] == 0):
            self.say(index, "seal", "seal 0 and no other is entry 0")
        before = self.sealed
        if before is None:
            self.id, self.name = envelope.digest, seal["boundary"]["name"]
        else:
            expected = (before.seal["number"] + 1, before.digest, {"name": self.name, "id": self.id})
            if (seal["number"], seal.get("previous"), seal["boundary"]) != expected:
                self.say(index, "seal", "it does not follow the seal before it")
        sealed = Sealed(index, envelope.digest, seal)
        try:
            sealed.roster = self.roster_of(index, seal, before)
        except Bad as error:
            # Seal and roster may be sound, and only not those of what is trusted.
            if before is None and error.reason == "no-trust":
                raise Untrusted(str(error)) from error
            self.judge(index, "roster", error)
        if sealed.roster is None:
            # What follows would be judged by nobody: by the roster before, if there is one.
            sealed.roster = before.roster if before else None
        if sealed.roster is not None:
            self.by_boundary(index, "seal", envelope, sealed)
            self.attempt(index, "seal", lambda: check_roster_in_seal(seal, sealed.roster))
            if seal["policy"] != sealed.roster.predicate["policy"]:
                self.say(index, "seal", "the sealed policy is not the roster's")
        sealed.policy = self.attempt(index, "blob", lambda: self.json_blob(seal["policy"]))
        builtins = self.attempt(index, "blob", lambda: self.json_blob(seal["builtins"]))
        sealed.builtins = builtins
        sealed.configuration = self.attempt(
            index, "blob", lambda: Configuration(self.json_blob(seal["configuration"]))
        )
        sealed.tokens = self.attempt(index, "blob", lambda: self.read_tokens(seal["tokens"]))
        sealed.steps = self.attempt(index, "registry", lambda: self.read_registry(seal))
        self.attempt(index, "state", lambda: self.read_state(sealed))
        self.check_returns(index, seal, sealed, before)
        self.sealed = sealed

    @staticmethod
    def read_state(sealed):
        """What holds for each step: every one must be able to have what it asks for."""
        if None in (sealed.steps, sealed.policy, sealed.configuration, sealed.roster):
            return
        groups = {group["name"] for group in sealed.roster.tables["group"]}
        sealed.plans = {step["plan"]["step"] for step in sealed.steps.values() if "plan" in step}
        for ref, step in sealed.steps.items():
            policy = sealed.policies[ref] = rules.Policy(sealed.policy, ref, sealed.builtins)
            named = set(rules.Rules(policy.approvals, step["approvals"]).groups)
            emergency = policy.emergency or {}
            missing = (named | set(emergency.get("from", []))) - groups
            if missing:
                raise Bad(f"{ref} asks for {', '.join(sorted(missing))}, a group that the roster does not have")
            for people in (emergency.get("review"), policy.settle):
                other = set(people["from"]) - named if people else set()
                if other:
                    raise Bad(f"{', '.join(sorted(other))} may review or settle {ref}, but no rule of the step names them")
            sealed.profiles[ref] = sealed.configuration.profile(step, policy)
            sealed.longest = max(sealed.longest, sealed.configuration.wall_ms(step, policy))
        sealed.passkeys = rules.Policy(sealed.policy, "a:b", sealed.builtins).passkeys

    def check_returns(self, index, seal, sealed, before):
        """What was replaced or is gone never comes back."""
        if before is not None and before.seal["epoch"] != seal["epoch"]:
            self.past_epochs.add(before.seal["epoch"])
        if seal["epoch"] in self.past_epochs:
            self.say(index, "epoch", "an epoch that was replaced is in force again")
        if sealed.roster is not None and sealed.roster.threshold == 0:
            self.unguarded.add(sealed.roster.version)
        if sealed.tokens is None:
            return
        if len({token["credential"] for token in sealed.tokens.values()}) < len(sealed.tokens):
            self.say(index, "tokens", "two tokens have one credential")
        for name, token in sealed.tokens.items():
            if "oidc" in token and token["credential"] != reference(canonical(token["oidc"])):
                self.say(index, "tokens", f"the credential of the token {name} is not the digest of its binding")
            known = self.last_tokens.get(name)
            if known is not None and known != token:
                self.say(index, "tokens", f"the token {name} was changed")
            if known is None and name in self.gone_tokens:
                self.say(index, "tokens", f"the token {name} was gone, and is there again")
            if sealed.roster is not None and sealed.roster.role_of(name):
                self.say(index, "tokens", f"the token {name} has a rostered name")
        self.gone_tokens |= set(self.last_tokens) - set(sealed.tokens)
        self.last_tokens = sealed.tokens

    def json_blob(self, digest, most=None):
        return strict_canonical(self.export.blob(digest), most or BLOB)

    def roster_of(self, index, seal, before):
        """The roster that the seal names, connected with the trusted one."""
        named = seal["roster"], seal.get("rosters")
        last = before.roster if before is not None else None
        same = last is not None and seal["roster"] == last.digest
        if same and named == self.named:
            return last
        roster = Roster(self.export.blob(seal["roster"]))
        new = self.new_versions(seal, roster)
        if self.chain is None:
            if Roster(new[0].payload).version != 1:
                raise Bad("the first seal names no first version of the roster")
            known = {version.digest: version for version in self.known}
            chain = Chain(new, self.trusted, known.values())
        else:
            chain = self.chain.extended(new)
        if chain.last.digest != roster.digest:
            raise Bad("the versions do not end at the roster that the seal names")
        self.unguarded |= chain.unguarded
        if last is not None:
            is_revoked = lambda keyid: self.revocations.key(keyid, index) is not None
            self.attempt(index, "revoked", lambda: chain.check_without(is_revoked, last.version))
        for version in chain.versions[-len(new) :]:
            self.foreign += [one for one in version.foreign if one not in self.foreign]
        self.chain, self.named = chain, named
        return roster

    def new_versions(self, seal, roster):
        """Envelopes of the versions that no earlier seal has: of the blob `rosters`, or of the roster itself."""
        if "rosters" in seal:
            if self.chain is None and roster.version == 1:
                raise Bad("a seal names the versions of a roster that has one")
            value = self.json_blob(seal["rosters"], ROSTERS)
            documents.arr(documents.roster_version, low=1)(value, "")
            return envelopes_of(value)
        if roster.version == 1:
            return [Unsigned(roster.payload)]
        raise Bad("a seal names the versions of its roster, but for version 1")

    def read_tokens(self, digest):
        tokens = self.json_blob(digest)
        documents.arr(documents.TOKEN, ordered=True)(tokens, "/tokens")
        found = {token["name"]: token for token in tokens}
        if len(found) != len(tokens):
            raise Bad("a token's name stands twice")
        return found

    def read_registry(self, seal):
        leaves = self.json_blob(seal["registry"])
        documents.arr(documents.REGISTRY_LEAF)(leaves, "/registry")
        refs = [leaf["ref"].encode() for leaf in leaves]
        if any(one >= other for one, other in zip(refs, refs[1:])):
            raise Bad("the registry is out of order")
        tree = Tree()
        for leaf in leaves:
            tree.push(leaf_hash(canonical(leaf)))
        if "sha256:" + tree.root().hex() != seal["registry_root"]:
            raise Bad("the steps give another root than the seal's")
        steps = {}
        for leaf in leaves:
            if leaf["digest"] not in self.step_cache:
                step = self.json_blob(leaf["digest"])
                if len(canonical(step)) > documents.MAX_STEP:
                    raise Bad(f"the step {leaf['ref']} is more than 1 MiB")
                try:
                    rules.read_step(step)
                except Bad as error:
                    # Under the name that a sealed state has.
                    raise Bad(str(error), "sealed-state") from error
                for one in step["files"]:
                    if len(self.export.blob(one["digest"])) != one["bytes"]:
                        raise Bad(f"the file {one['path']!r} of {leaf['ref']} has another size than the step says", "sealed-state")
                self.step_cache[leaf["digest"]] = step
            if self.step_cache[leaf["digest"]]["ref"] != leaf["ref"]:
                raise Bad(f"{leaf['ref']} is listed with the step of another ref")
            steps[leaf["ref"]] = self.step_cache[leaf["digest"]]
        return steps

    # What is spent, refused, denied.

    def read_consumption(self, index, envelope, consumption):
        self.by_boundary(index, "consumption", envelope)
        if consumption["seal"] != self.sealed.digest:
            self.say(index, "consumption", "it names a seal that is not in force")
        frozen = self.revocations.epoch(self.sealed.seal["epoch"], index)
        if frozen is not None:
            self.say(index, "revoked", f"entry {frozen} had revoked the epoch")
        leaf = "sha256:" + leaf_hash(envelope.leaf).hex()
        self.forget()
        for item, spent in enumerate(consumption["spent"]):
            authorization = None
            before = spent["authorization"]["index"] + len(consumption["spent"]) - item == index
            if before and self.waiting and logged(*self.waiting[0]) == spent["authorization"]:
                authorization = self.waiting.pop(0)
                self.attempt(index, "consumption", lambda: check_item(spent, read_authorization(authorization[1])[1]))
            else:
                self.say(index, "authorization", f"item {item}: the entries before are not its authorizations in their order")
            at, end = seconds(consumption["at"]), seconds(spent["expires_at"])
            if at < end <= at + rules.DAY + rules.SKEW:
                self.use(index, item, spent["nonce"], authorization, end)
            else:
                self.say(index, "window", f"item {item} had expired, or ends too late")
            for word, why in self.grants.count(spent, at, spent.get("session", {}).get("id") in self.sessions):
                self.say(index, word, f"item {item}: {why}")
            ended = self.revocations.grant(spent["grant"], index) if "grant" in spent else None
            if ended is not None:
                self.say(index, "revoked", f"item {item}: entry {ended} had revoked the grant")
            if "session" in spent:
                self.use_session(index, item, spent["session"], at)
            self.spent[index, item] = {
                "consumption": consumption,
                "leaf": leaf,
                "sealed": self.sealed,
                "authorization": authorization,
                "denied": list(self.denials.get(spent["authorization"]["digest"], [])),
            }
        self.drop_waiting()

    def use(self, index, item, nonce, authorization, end):
        """No other item uses the nonce or the proposal before the end; later, none is in its window (section 21)."""
        here, values, earlier = (index, item), [nonce], []
        if authorization is not None:
            values.append(read_authorization(authorization[1])[1]["proposal"])
        for value in values:
            place, until = self.used.get(value, (None, 0))
            if until > self.last_at:
                earlier.append(f"{value}, which item {place[1]} of entry {place[0]} used")
            else:
                self.used[value] = here, end
        self.used[here] = here, end
        if earlier:
            self.say(index, "double-use", f"item {item} uses {earlier[0]}")

    def forget(self):
        """Once an hour: what has ended. A session is kept a day longer, and as long as a run of it is open."""
        if self.dropped_at + 3600 > self.last_at:
            return
        self.dropped_at, since = self.last_at, self.last_at - rules.DAY
        self.used = {value: use for value, use in self.used.items() if use[1] > self.last_at}
        self.grants.forget(since)
        self.sessions = {
            name: last for name, last in self.sessions.items() if last[0] is not None or documents.end_in(name) // 1000 > since
        }

    def drop_waiting(self, kept=0):
        """A consumption names at most 16 of them."""
        while len(self.waiting) > kept:
            index, _ = self.waiting.pop(0)
            self.say(index, "authorization", "no consumption directly after it names it")

    def use_session(self, index, item, session, at):
        """One run after the other, each with the state that the one before left. What ends too late is not followed."""
        name = session["id"]
        if documents.end_in(name) // 1000 > at + SESSION + rules.SKEW:
            self.say(index, "session", f"item {item} uses {name}, which ends too late")
            return
        run, left = self.sessions.get(name, (None, None))
        if run is not None:
            self.say(index, "session", f"item {item} uses {name}, which entry {run[0]} uses without a receipt")
        elif left not in (None, session["state"]):
            self.say(index, "session", f"item {item} begins with another state of {name} than the run before left")
        self.sessions[name] = (index, item), left

    def leave_session(self, place, session, change):
        name = session["id"]
        if name in self.sessions:
            run, left = self.sessions[name]
            self.sessions[name] = None if run == place else run, left if change is None else change["after"]

    def read_denial(self, index, envelope, denial):
        """By one approver of the roster in force, whichever: a boundary logs no denial that it would not heed."""

        def check():
            if denial["boundary"] != {"name": self.name, "id": self.id, "epoch": self.sealed.seal["epoch"]}:
                raise Bad("it is of another boundary or epoch")
            found, last = [], ""
            for keyid, raw in envelope.signatures:
                approver = self.sealed.roster.statement_approver(keyid)
                if approver is None or keyid <= last:
                    raise Bad(f"{keyid} is no approver's, or out of order")
                last = keyid
                found.append((approver[0], approver[1].verify(pae(envelope.payload), raw)))
                by_passkey(found[-1][1], self.sealed.passkeys)
            if len(found) != 1:
                raise Bad(f"{len(found)} signatures, of the one who denies")
            self.revocations.check_signers(envelope, index)
            return found

        found = self.attempt(index, "denial", check)
        digest = "sha256:" + strict(envelope.payload, 1 << 20)["subject"][0]["digest"]["sha256"]
        if found:
            self.denials.setdefault(digest, []).extend((index, person, touched) for person, touched in found)

    def read_revocation(self, index, envelope, revocation):
        here = {"name": self.name, "id": self.id, "epoch": self.sealed.seal["epoch"]}
        grants = lambda digest: self.grants.revocable(digest, self.last_at - rules.DAY)
        work = lambda: self.revocations.read(index, envelope, revocation, self.sealed, here, grants)
        self.attempt(index, "revocation", work)

    def read_grant(self, index, envelope, _):
        """By approvers of the roster in force. Whether they are enough is decided at each use, since a grant states no time."""
        here = {"name": self.name, "id": self.id, "epoch": self.sealed.seal["epoch"]}
        work = lambda: self.grants.add(index, envelope, here, self.sealed.roster, self.sealed.tokens)
        self.attempt(index, "grant", work)

    def read_review(self, index, envelope, review):
        """By an approver of the roster in force, dated by the latest entry that has a time."""
        is_revoked = lambda keyid: self.revocations.key(keyid, index) is not None
        work = lambda: self.reviews.read(index, envelope, review, self.sealed.roster, self.last_at, is_revoked)
        found = self.attempt(index, "review", work)
        if found is None or found[1].end is None:
            return
        digest, run = found
        if run.end == "settled":
            self.grants.settle(run.item, digest)
        else:
            self.grants.end(run.item, run.entry, digest, "unknown")

    def read_refusal(self, index, envelope, refusal):
        self.by_boundary(index, "refusal", envelope)
        if refusal.get("boundary", {"name": self.name, "id": self.id}) != {"name": self.name, "id": self.id}:
            self.say(index, "refusal", "it is of another boundary")

    # Receipts: the decision, again.

    def read_receipt(self, index, envelope, receipt):
        self.by_boundary(index, "receipt", envelope)
        place = receipt["consumption"]["index"], receipt["consumption"]["item"]
        # Only the first receipt of an item has an effect.
        spent = self.spent.pop(place, None)
        if spent is None:
            named = f"item {place[1]} of entry {place[0]}"
            if self.used.get(place, (None, 0))[1] > self.last_at:
                self.say(index, "second-receipt", f"{named} already has its receipt")
            else:
                self.say(index, "no-consumption", f"{named} is not a consumption that still needs a receipt")
            return
        item = spent["consumption"]["spent"][place[1]]
        session = item.get("session")
        if session is not None:
            self.leave_session(place, session, receipt.get("session"))
        self.grants.close(item, index, envelope.digest, receipt["outcome"]["status"])
        if spent["authorization"] is None:
            return
        signed, authorization = read_authorization(spent["authorization"][1])
        run = Run(index, place, receipt, authorization, item, spent["sealed"])
        # A run that was judged before may have begun while this one was open.
        for other in self.reviews.add(envelope.digest, run):
            self.attempt(index, "emergency", lambda: self.reviews.check_emergency(other))
        before, open_before = len(self.findings), []
        for word, work in self.judgements(envelope, receipt, signed, authorization, run, spent):
            found = self.attempt(index, word, work)
            if isinstance(found, NotChecked):
                open_before.append(word)
                one = self.not_checked.setdefault(word, {"what": word, "decisions": 0, "why": found.why})
                one["decisions"] += 1
        self.exclude(index, place[0], authorization["step"]["ref"], spent["sealed"])
        if authorization["step"]["ref"] in spent["sealed"].plans:
            self.forget_plans(min(seconds(spent["consumption"]["at"]), self.last_at))
            self.plans.setdefault(envelope.digest, (index, plan_of(envelope, receipt, authorization)))
        self.decisions.append(
            {
                "entry": index,
                "at": spent["consumption"]["at"],
                "receipt": "rcp_" + authorization["proposal"][4:],
                "proposer": authorization["proposer"],
                "step": authorization["step"]["ref"],
                "params": authorization["params"],
                "params_digest": reference(canonical(authorization["params"])),
                "reason": authorization["reason"],
                "approvers": receipt["decision"]["approvers"],
                "outcome": receipt["outcome"]["status"],
                "sound": len(self.findings) == before,
                **({"unchecked": sorted(open_before)} if open_before else {}),
            }
        )

    def forget_plans(self, at):
        """Drops the plans that are too old for every run that is open or still to come."""
        begun = next(iter(self.spent.values()), None)
        since = min(at, seconds(begun["consumption"]["at"])) if begun else at
        while self.plans and next(iter(self.plans.values()))[1]["finished"] + PLAN < since:
            del self.plans[next(iter(self.plans))]

    def exclude(self, index, consumed_at, ref, sealed):
        """Of two runs of one exclusive name the later is consumed after the receipt of the earlier."""
        name = (sealed.steps or {}).get(ref, {}).get("exclusive")
        if name is None:
            return
        last = self.exclusive.get(name, -1)
        if consumed_at < last:
            self.say(index, "exclusive", f"it began before the receipt at entry {last}, of a run that it excludes")
        self.exclusive[name] = max(last, index)

    def judgements(self, envelope, receipt, signed, authorization, run, spent):
        consumed_at, sealed, consumption = run.place[0], spent["sealed"], spent["consumption"]
        ref = authorization["step"]["ref"]
        try:
            listed = self.read_list(authorization["sandbox"])
        except Bad:
            # The entry of the authorization has the finding.
            listed = []

        def boundary():
            here = {"name": self.name, "id": self.id}
            if authorization["boundary"] != {**here, "epoch": sealed.seal["epoch"]}:
                raise Bad("signed for another boundary or epoch")
            if {key: receipt["boundary"][key] for key in here} != here:
                raise Bad("the receipt is of another boundary")
            if [receipt["boundary"]["keyid"]] != [keyid for keyid, _ in envelope.signatures]:
                raise Bad("the receipt names another key than the one that signed it")

        def seal():
            if receipt["seal"] != sealed.digest or receipt["decision"]["policy"] != sealed.seal["policy"]:
                raise Bad("decided under another seal or policy than the one in force")

        def step():
            if sealed.steps is None or ref not in sealed.steps:
                raise Bad(f"{ref} was not registered")
            check_step(sealed.steps[ref], authorization)

        def decide_grant(policy, at, tokens):
            grant = self.grants.get(authorization["grant"], consumed_at)
            here = {"name": self.name, "id": self.id, "epoch": sealed.seal["epoch"]}
            if grant.terms["boundary"] != here:
                raise Bad("the grant is of another boundary or epoch")
            grantee = grant.terms["grantee"]
            if "token" in grantee and self.revocations.token(grantee["token"], consumed_at) is not None:
                raise Bad("the token of the grant was revoked", "revoked")
            if "key" in grantee and self.revocations.key(grantee["key"], consumed_at) is not None:
                raise Bad("the key of the grantee was revoked", "revoked")
            ended = self.revocations.grant(grant.digest, consumed_at), self.revocations.epoch(here["epoch"], consumed_at)
            if ended != (None, None):
                # The consumption has the finding.
                return
            grant.check_window(at)
            grant.check_grantee(sealed.roster, tokens)
            signers = grant.signers(sealed.roster)
            parties = (grant.grantee, grant.terms["proposer"])
            excluded = who_may_not(authorization["proposer"], receipt["decision"], sealed.roster, tokens, parties)
            check_nobody(signers, excluded)
            revoked = lambda keyid: self.revocations.key(keyid, consumed_at) is not None
            for place, one in enumerate(grant.terms["steps"]):
                step = sealed.steps.get(one["ref"])
                if step is None:
                    raise Bad(f"{one['ref']} was not registered")
                own = sealed.policy_for(one["ref"])
                grant.check_step(place, step, own)
                check_profile(one["ref"], one["sandbox"])
                combined = rules.Rules(own.approvals, step["approvals"])
                counted, _ = count_signers(signers, combined, sealed.roster, at, revoked)
                missing = combined.missing(counted)
                if missing:
                    raise Bad(missing)
                if one["ref"] == ref:
                    check_decision(counted, combined, receipt["decision"])
            if policy.mode == "deny" and not policy.allows:
                raise Bad("policy denies this: it allows no command")
            grant.check_use(authorization, signed.signatures[0][0], sealed.roster)

        def check_profile(ref, signed_one):
            """What a grant says of the sandbox of a step, as far as it follows."""
            if sealed.configuration is None or sealed.configuration.open is not None or ref not in sealed.profiles:
                return
            given = {name: value for name, value in signed_one.items() if name != "programs"}
            if dict(sealed.profiles[ref]) != given:
                raise Bad(f"the grant has another sandbox for {ref}")

        def people():
            policy = sealed.policy_for(ref)
            at = seconds(consumption["at"])
            tokens = {name: token for name, token in (sealed.tokens or {}).items() if sealed.token(name, at)}
            if "grant" in authorization:
                check_use_signature(signed, authorization, sealed.roster)
                decide_grant(policy, at, tokens)
                return
            combined = rules.of_run(policy, sealed.steps[ref], authorization)
            held, last = [], ""
            for keyid, raw in signed.signatures:
                approver = sealed.roster.statement_approver(keyid)
                if approver is None or keyid <= last:
                    raise Bad(f"{keyid} is no approver's, or out of order")
                last = keyid
                held.append((approver[0], approver[1].verify(pae(signed.payload), raw)))
            counted = count_people(held, combined, sealed.roster, at)
            excluded = who_may_not(authorization["proposer"], receipt["decision"], sealed.roster, tokens)
            if set(counted) & excluded:
                raise Bad(f"{', '.join(sorted(set(counted) & excluded))} may not approve this")
            if policy.mode == "deny" and not policy.allows:
                raise Bad("policy denies this: it allows no command")
            check_decision(counted, combined, receipt["decision"])
            for entry, person, _ in spent["denied"]:
                raise Bad(f"{person['name']} had denied it at entry {entry}")

        def revoked():
            self.revocations.check_signers(signed, consumed_at)
            entry = self.revocations.token(authorization["proposer"], consumed_at)
            if entry is not None:
                raise Bad(f"the token {authorization['proposer']} was revoked at entry {entry}")

        def window():
            wrong = rules.check_window(authorization, seconds(consumption["at"]))
            if wrong:
                raise Bad(wrong)

        def proposer():
            for who in (authorization["proposer"], receipt["decision"]["handed_in_by"]):
                token = sealed.token(who, seconds(consumption["at"]))
                if token is None:
                    role = sealed.roster.role_of(who)
                    may = role is not None and role[0] == "proposer"
                else:
                    patterns = token["patterns"]
                    may = "propose" in token["scopes"] and (not patterns or any(matches(one, ref) for one in patterns))
                if not may:
                    raise Bad(f"{who} may not propose {ref}")

        def permissions():
            policy = sealed.policies.get(ref)
            # What a script runs is found by parsing it.
            return None if policy is None else NotChecked("scripts are not read here, so what policy asks is not known")

        def sandbox():
            configuration, policy = sealed.configuration, sealed.policies.get(ref)
            # What was not started held nothing; what nobody saw could not be looked at.
            check_sandbox(receipt, authorization, listed)
            if configuration is None or policy is None or ref not in sealed.profiles:
                return None
            missing = set(sealed.profiles[ref]["require"]) - set(authorization["sandbox"]["require"])
            if missing:
                raise Bad(f"nobody signed the required layers {', '.join(sorted(missing))}")
            programs.check_list(policy, sealed.steps[ref], authorization["sandbox"], listed)
            wanted, signed_one = dict(sealed.profiles[ref]), dict(authorization["sandbox"])
            # Which names a script adds to the list is not read here; its paths only the boundary knows.
            signed_one.pop("programs", None)
            left = []
            if configuration.open is not None:
                left = ["limits", "require", "deny"]
            wanted.update({name: signed_one[name] for name in left})
            if wanted != signed_one:
                raise Bad("signed was another sandbox than follows from step, policy and configuration")
            return NotChecked(configuration.open) if left else None

        def parameters():
            if sealed.steps is not None and ref in sealed.steps:
                rules.Schema(sealed.steps[ref]["params"]).check(authorization["params"])

        def consumed():
            check_spent(receipt, consumption, consumed_at, spent["leaf"], logged(*spent["authorization"]))
            check_session(authorization, receipt)

        def plan():
            if "plan" not in authorization or sealed.steps is None or "plan" not in sealed.steps.get(ref, {}):
                return
            entry, found = self.plans.get(authorization["plan"]["receipt"], (consumed_at, None))
            if entry >= consumed_at:
                raise Bad("no earlier receipt is that of the plan")
            check_plan(authorization["plan"], sealed.steps[ref]["plan"], authorization, seconds(consumption["at"]), found)

        yield "boundary", boundary
        yield "seal", seal
        yield "consumption", consumed
        yield "step", step
        yield "approvals", people
        yield "emergency", lambda: self.reviews.check_emergency(run)
        yield "revoked", revoked
        yield "window", window
        yield "parameters", parameters
        yield "proposer", proposer
        yield "permissions", permissions
        yield "sandbox", sandbox
        yield "plan", plan
        yield "outcome", lambda: check_outcome(receipt, consumption)
        yield "subjects", lambda: check_receipt_subjects(receipt)

    def value(self):
        return {
            "sound": not self.findings,
            "boundary": {"name": self.name, "id": self.id},
            "findings": [{"entry": index, "what": word, "detail": detail} for index, word, detail in self.findings],
            "open": [{"entry": index, "item": item} for index, item in getattr(self, "open", [])],
            "reviews": [{"entry": run.entry, "emergency": run.emergency, "end": run.end} for run in self.reviews.runs.values()],
            "not_checked": [self.not_checked[word] for word in sorted(self.not_checked)],
            "unguarded": sorted(self.unguarded),
            "foreign": self.foreign,
            "decisions": self.decisions,
        }


def parse(data):
    """Kind, envelope and predicate of a leaf, or the kind as far as it is known, and what is wrong."""
    kind = ""
    try:
        value = strict_canonical(data, 65535)
        envelope = Envelope(value)
        document = strict(envelope.payload, 256 * 1024)
        kind = document.get("predicateType", "") if isinstance(document, dict) else ""
        kind = kind[len("https://countersign.dev/") : -len("/v1")] if isinstance(kind, str) else ""
        if kind not in KINDS:
            raise Bad(f"no leaf of this log: {kind[:40]!r}")
        return kind, envelope, documents.read(kind, envelope.payload), None
    except Bad as error:
        return kind, None, None, error


class Untrusted(Bad):
    """The log begins with a roster that no trusted one is connected with."""


class Unsigned:
    """A version of the roster of which only the payload is at hand."""

    def __init__(self, payload):
        self.payload, self.signatures, self.digest = payload, [], reference(payload)
