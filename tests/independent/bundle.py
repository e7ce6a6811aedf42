"""One bundle, offline: every check with its finding. From `formats.md`, Bundle."""

import documents
import grants
import parts
import programs
import rules
import templates
from log import Checkpoint, Note, Proof, check_inclusion, leaf_hash, read_vkey
from passkeys import by_passkey
from roster import Chain, envelopes_of
from shapes import wrong
from wire import Bad, Envelope, Open, canonical, pae, reference, seconds, strict

NO_SHA256 = reference(b"")
NO_BLAKE3 = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
MAX_BUNDLE = 4 << 20
NAMES = (
    "bundle roster-chain receipt-document authorization-document consumption-document seal-document roster-in-seal "
    "receipt-signature consumption-signature seal-signature checkpoint receipt-included authorization-included consumption-included seal-included "
    "log-order boundary seal consumption authorization-signatures excluded quorum window step step-in-registry parameters "
    "permissions sandbox outcome receipt-subjects plan grant-document grant-signatures grant-included grant-covers keys-still-rostered seal-in-force revocations witnesses"
).split()
ESTABLISHED, FAILED, NOT_CHECKED = "established", "failed", "not-checked"


class Report:
    """Findings by name, in the order of NAMES."""

    def __init__(self):
        self.found = {}
        # Versions of the roster that whoever ran the boundary could have replaced.
        self.unguarded = []
        # Keys of a type that is not verified here, in the roster that decided.
        self.foreign = []
        # What the versions of the roster leave open.
        self.warnings = []
        # Which versions of the roster are missing, so that nothing is decided.
        self.undecided = None

    def check(self, name, needs, work):
        """Runs a check when what it needs is established; gives what it proved, or None."""
        for need in needs:
            if need is not True and (need is None or self.found.get(need, (None,))[0] != ESTABLISHED):
                self.found.setdefault(name, (NOT_CHECKED, f"because {need} is not established"))
                return None
        try:
            proved = work()
        except Bad as error:
            self.found[name] = (FAILED, str(error))
            return None
        except Open as error:
            self.found[name] = (NOT_CHECKED, str(error))
            return None
        if isinstance(proved, NotChecked):
            self.found[name] = (NOT_CHECKED, proved.why)
            return None
        self.found[name] = (ESTABLISHED, "")
        return proved if proved is not None else True

    def value(self):
        checks = [{"name": name, "finding": self.found[name][0], "detail": self.found[name][1]} for name in NAMES]
        failed = [check for check in checks if check["finding"] == FAILED]
        decisive = [check for check in checks if check["name"] not in MAY_STAY_OPEN]
        verified = not failed and all(check["finding"] == ESTABLISHED for check in decisive)
        return {"checks": checks, "verified": verified, "unguarded": self.unguarded, "foreign": self.foreign, "warnings": self.warnings, "undecided": None if failed else self.undecided, "boundary_says": BOUNDARY_SAYS}


# The versions before one that is made again have at most so many bytes together.
MOST_MADE = 256 << 20


class NotChecked:
    def __init__(self, why):
        self.why = why


# What a lone bundle may leave open and still be verified.
# What rests on the boundary's word alone, whatever is established.
BOUNDARY_SAYS = (
    "who is excluded as an owner of a token, and who handed in",
    "that a token was presented, where its use of a grant is signed by the boundary",
    "what the step did and printed beyond the signed digests",
    "CPU and memory used",
    "how the sandbox held its layers, beyond their names, which files the listed programs are, and what was started and refused",
    "what the state of a session is: only the boundary knows the salt of its digest",
    "what stands in artifacts and in files that the run left, beyond their digests",
    "all times, unless a witness dated the checkpoint",
)
MAY_STAY_OPEN = ("permissions", "sandbox", "keys-still-rostered", "seal-in-force", "revocations", "witnesses")


def verify(data, trusted, known=()):
    """The report on these bytes; `trusted` is the digest of a roster's payload, `known` the versions that the verifier holds."""
    return _Bundle(data, trusted, known).report


class _Bundle:
    def __init__(self, data, trusted, known, outer=None):
        self.report, self.data, self.outer = Report(), data, outer
        self.bundle = self.run("bundle", [], self.read)
        have = self.bundle or {}
        self.chain = self.run("roster-chain", ["bundle"], lambda: self.read_chain(have, trusted, known))
        if self.chain is not None:
            self.report.unguarded = sorted(self.chain.unguarded)
            self.report.foreign = self.chain.last.foreign
            if self.chain.begins > 1:
                self.report.warnings = [f"keys removed before version {self.chain.begins} of the roster: not checked"]
        self.documents()
        self.signatures()
        self.places()
        self.decision()
        self.rest()

    def run(self, name, needs, work):
        return self.report.check(name, needs, work)

    def holds(self, name):
        return self.report.found.get(name, (None,))[0] == ESTABLISHED

    def read(self):
        value = strict(self.data, MAX_BUNDLE)
        documents.check_bundle(value, is_plan=self.outer is not None)
        return value

    def read_chain(self, have, trusted, known):
        if self.outer is not None:
            return self.outer.until(have["roster"])
        try:
            return Chain(envelopes_of(have["roster"], MOST_MADE), trusted, known)
        except Bad as error:
            missing = getattr(error, "missing", None)
            if missing:
                one = missing[0] == missing[1]
                self.report.undecided = (
                    f"version {missing[0]} of the roster is missing" if one else f"versions {missing[0]} to {missing[1]} of the roster are missing"
                )
                raise Open(self.report.undecided) from error
            raise

    def documents(self):
        def read(kind):
            if kind == "authorization":
                return read_authorization(Envelope(self.bundle[kind]))
            envelope = Envelope(self.bundle[kind])
            return envelope, documents.read(kind, envelope.payload)

        for kind in ("receipt", "authorization", "consumption", "seal"):
            proved = self.run(f"{kind}-document", ["bundle"], lambda kind=kind: read(kind))
            envelope, predicate = proved or (None, None)
            setattr(self, f"{kind}_envelope", envelope)
            setattr(self, kind, predicate)

    def signatures(self):
        def of(kind):
            envelope = getattr(self, f"{kind}_envelope")
            signer = check_boundary_signature(envelope, self.chain.last, self.seal["boundary"]["name"])
            if kind == "receipt" and self.receipt["boundary"]["keyid"] != signer:
                raise Bad("the receipt names another key than the one that signed it")
            return signer

        self.run("seal-signature", ["roster-chain", "seal-document"], lambda: of("seal"))
        self.run("roster-in-seal", ["roster-chain", "seal-signature"], self.check_roster_in_seal)
        self.id = None
        if self.holds("roster-in-seal"):
            self.id = self.seal["boundary"].get("id") or self.seal_envelope.digest
        self.run("receipt-signature", ["roster-in-seal", "receipt-document"], lambda: of("receipt"))
        self.run("consumption-signature", ["roster-in-seal", "consumption-document"], lambda: of("consumption"))

    def check_roster_in_seal(self):
        check_roster_in_seal(self.seal, self.chain.last)

    def places(self):
        self.proofs = self.run("checkpoint", ["roster-in-seal"], self.check_checkpoint)
        proofs, checkpoint = self.proofs or ({}, None)
        for kind in ("receipt", "authorization", "consumption", "seal"):
            envelope = getattr(self, f"{kind}_envelope")
            self.run(
                f"{kind}-included",
                ["checkpoint", f"{kind}-document"],
                lambda kind=kind, envelope=envelope: check_inclusion(
                    leaf_hash(envelope.leaf), proofs[kind].index, checkpoint.size, proofs[kind].path, checkpoint.root
                ),
            )
        needs = ["receipt-included", "authorization-included", "consumption-included", "seal-included", "consumption-signature"]
        self.run("log-order", needs, lambda: self.check_order(proofs))

    def check_checkpoint(self):
        texts = self.bundle["proofs"]
        proofs = {kind: Proof(texts[kind]) for kind in ("receipt", "authorization", "consumption", "seal")}
        if len({proof.note for proof in proofs.values()}) != 1:
            raise Bad("the proofs carry different checkpoints")
        note = Note(proofs["seal"].note)
        name = self.seal["boundary"]["name"]
        origin = f"{name}/{self.id.split(':')[1][:16]}"
        keys = [key.public for key in self.chain.last.boundary_keys(name).values()]
        checkpoint = Checkpoint(note.text)
        if checkpoint.origin != origin:
            raise Bad(f"the checkpoint is of the log {checkpoint.origin!r}, not {origin!r}")
        note.check_signed(origin, keys)
        self.note = note
        return proofs, checkpoint

    def check_order(self, proofs):
        places = [proofs[kind].index for kind in ("seal", "authorization", "consumption", "receipt")]
        if not places[0] < places[1] < places[2] < places[3]:
            raise Bad(f"seal, authorization, consumption, receipt at {places}")
        if (self.seal["number"] == 0) != (places[0] == 0):
            raise Bad("seal 0 and no other is entry 0")
        if seconds(self.seal["at"]) > seconds(self.consumption["at"]):
            raise Bad("the consumption is older than the seal")

    def decision(self):
        """Signatures of people in two parts: whether they hold, then whether they count."""
        held = None
        if self.authorization is None:
            self.report.found["authorization-signatures"] = (NOT_CHECKED, "because authorization-document is not established")
        else:
            held = self.run("authorization-signatures", ["roster-in-seal"], self.check_authorization_signatures)
        self.held = held
        held_need = True if held is not None else None
        self.grant()
        self.run("boundary", ["receipt-signature", held_need], self.check_boundary)
        self.run("seal", ["receipt-signature", "consumption-signature"], self.check_seal)
        self.run("consumption", ["checkpoint", "receipt-signature", "consumption-signature", held_need], self.check_consumption)
        self.run("step", [held_need], self.check_step)
        self.run("step-in-registry", ["roster-in-seal"], self.check_step_in_registry)
        self.run("parameters", [held_need, "step"], lambda: rules.Schema(self.bundle["step"]["params"]).check(self.authorization["params"]))
        policy = None
        if held is not None and self.holds("seal") and self.holds("step") and self.holds("consumption-signature"):
            policy = self.count()
        elif held is not None:
            self.report.found["authorization-signatures"] = (NOT_CHECKED, "because seal or step is not established")
            self.report.found["excluded"] = self.report.found["quorum"] = (NOT_CHECKED, "because seal or step is not established")
        else:
            self.report.found["excluded"] = self.report.found["quorum"] = (NOT_CHECKED, "because authorization-signatures is not established")
        self.run("window", [held_need, "consumption-signature"], self.check_window)
        if "permissions" not in self.report.found:
            self.run("permissions", [held_need, "step", "seal"], lambda: self.check_permissions(policy))
        if self.authorization is not None and "grant" not in self.authorization and held is not None:
            self.report.found["grant-covers"] = (ESTABLISHED, "")
        else:
            needs = [held_need, "grant-signatures", "consumption-signature", "receipt-signature", "step", "seal"]
            self.run("grant-covers", needs, lambda: self.check_covers(policy))

    def check_authorization_signatures(self):
        """Each by a rostered approver, in one order, and it holds: pairs of person and whether they touched the key. Of a use of
        a grant the one of the grantee or of the boundary holds, and nobody is counted."""
        envelope, found, last = self.authorization_envelope, [], ""
        message = pae(envelope.payload)
        if "grant" in self.authorization:
            check_use_signature(envelope, self.authorization, self.chain.last)
            self.check_programs()
            return found
        for keyid, raw in envelope.signatures:
            approver = self.chain.last.statement_approver(keyid)
            if approver is None:
                raise Bad(f"no approver has the key {keyid}")
            if keyid <= last:
                raise Bad("the signatures are out of order or doubled")
            last = keyid
            found.append((approver[0], approver[1].verify(message, raw)))
        self.check_programs()
        return found

    def check_programs(self):
        """The list of programs belongs to what was signed."""
        programs.check_named(self.authorization["sandbox"], self.bundle.get("programs"))

    def grant(self):
        """What can be said of a grant before the decision: `used` is the grant of this run, None without one, False if unknown."""
        self.used = None
        proved = self.run("grant-document", ["bundle"], lambda: (grants.Grant(Envelope(self.bundle["grant"])) if "grant" in self.bundle else None,))
        grant = proved and proved[0]
        held = self.report.found.get("authorization-signatures", (None,))[0] == ESTABLISHED
        if proved is not None and held:
            self.run("grant-document", [], lambda: self.check_there(grant))
        elif proved is not None:
            self.report.found["grant-document"] = (NOT_CHECKED, "because authorization-signatures is not established")
        # What failed stays failed; what was read but can't be compared is not checked.
        there = self.holds("grant-document")
        self.run("grant-signatures", ["grant-document" if not there else True, "roster-in-seal"], lambda: grant and (grant.signers(self.chain.last),))
        self.run("grant-included", ["grant-document" if not there else True, "checkpoint"], lambda: grant and self.check_grant_included())
        if self.authorization is not None and "grant" in self.authorization:
            self.used = grant if self.holds("grant-signatures") else False

    def check_there(self, grant):
        if (grant is not None) != ("grant" in self.authorization):
            raise Bad("the bundle has a grant exactly where the run used one")

    def check_grant_included(self):
        proofs, checkpoint = self.proofs
        proof = Proof(self.bundle["proofs"]["grant"])
        leaf = leaf_hash(Envelope(self.bundle["grant"]).leaf)
        check_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root)
        if proof.index >= proofs["consumption"].index:
            raise Bad("the grant is no earlier entry than the consumption")

    def check_covers(self, policy):
        if self.used is None:
            return None
        try:
            policy = policy or self.policy()
        except Bad:
            return NotChecked("because quorum is not established")
        terms, at = self.used.terms, seconds(self.consumption["at"])
        self.used.check_window(at)
        self.used.check_grantee(self.chain.last)
        place = self.used.check_use(self.authorization, self.authorization_envelope.signatures[0][0], self.chain.last)
        self.used.check_step(place, self.bundle["step"], policy)
        items = self.consumption["spent"]
        item = self.receipt["consumption"]["item"]
        if item >= len(items) or not 1 <= items[item].get("use", 0) <= terms["max_uses"]:
            raise Bad("the use has a number that the grant does not have")
        return None

    def count(self):
        """Whether those who signed count, none is excluded, and they are enough."""
        if self.used is False:
            for name in ("authorization-signatures", "excluded", "quorum"):
                self.report.found[name] = (NOT_CHECKED, "because grant-signatures is not established")
            return self.policy()
        excluded = self.run("excluded", [], self.excluded)
        if excluded is None:
            for name in ("authorization-signatures", "quorum"):
                self.report.found[name] = (NOT_CHECKED, "because excluded is not established")
            return None
        policy = self.run("quorum", [], self.policy)
        if policy is None:
            for name in ("excluded", "authorization-signatures", "permissions"):
                self.report.found[name] = (NOT_CHECKED, "because the rules can't be read")
            return None
        # That was only the reading of its rules.
        del self.report.found["quorum"]
        people = self.run("authorization-signatures", [], lambda: self.people(policy))
        if people is None:
            self.report.found["excluded"] = self.report.found["quorum"] = (NOT_CHECKED, "because authorization-signatures is not established")
            return policy
        self.run("excluded", [], lambda: self.check_nobody(excluded, people[0]))
        self.run("quorum", ["excluded"], lambda: self.check_quorum(policy, people))
        return policy

    def policy(self):
        """What holds for the step; both rules must be readable."""
        policy = rules.Policy(self.bundle["policy"], self.authorization["step"]["ref"], self.bundle["builtins"])
        rules.of_run(policy, self.bundle["step"], self.authorization)
        return policy

    def excluded(self):
        more = (self.used.grantee, self.used.terms["proposer"]) if self.used else ()
        return who_may_not(self.authorization["proposer"], self.receipt["decision"], self.chain.last, None, more)

    def people(self, policy):
        if self.used:
            combined, at = rules.Rules(policy.approvals, self.bundle["step"]["approvals"]), seconds(self.consumption["at"])
            people, self.counted = grants.count_signers(self.used.signers(self.chain.last), combined, self.chain.last, at)
            return people, combined
        combined = rules.of_run(policy, self.bundle["step"], self.authorization)
        return count_people(self.held, combined, self.chain.last, seconds(self.consumption["at"])), combined

    def check_nobody(self, excluded, people):
        if self.used:
            grants.check_nobody(self.used.signers(self.chain.last), excluded)
        for name in people:
            if name in excluded:
                raise Bad(f"{name} proposed this or controls who did")

    def check_quorum(self, policy, counted):
        people, combined = counted
        check_decision(people, combined, self.receipt["decision"])

    def check_boundary(self):
        name = self.seal["boundary"]["name"]
        for whose, stated in (("authorization", self.authorization["boundary"]), ("receipt", self.receipt["boundary"])):
            if (stated["name"], stated["id"]) != (name, self.id):
                raise Bad(f"the {whose} is of another boundary")
        if self.authorization["boundary"]["epoch"] != self.seal["epoch"]:
            raise Bad("the authorization is of another epoch")

    def check_seal(self):
        for name in ("policy", "builtins"):
            if reference(canonical(self.bundle[name])) != self.seal[name]:
                raise Bad(f"the {name} of the bundle are not the sealed ones")
        for whose, stated in (("receipt", self.receipt["seal"]), ("consumption", self.consumption["seal"])):
            if stated != self.seal_envelope.digest:
                raise Bad(f"the {whose} names another seal")
        if self.receipt["decision"]["policy"] != self.seal["policy"]:
            raise Bad("decided by another policy")
        if self.seal["policy"] != self.chain.last.predicate["policy"]:
            raise Bad("the sealed policy is not the roster's")

    def check_consumption(self):
        proofs = self.proofs[0]
        check_spent(
            self.receipt,
            self.consumption,
            proofs["consumption"].index,
            "sha256:" + leaf_hash(self.consumption_envelope.leaf).hex(),
            logged(proofs["authorization"].index, self.authorization_envelope),
        )
        check_item(self.consumption["spent"][self.receipt["consumption"]["item"]], self.authorization)
        check_session(self.authorization, self.receipt)

    def check_step(self):
        check_step(self.bundle["step"], self.authorization)

    def check_step_in_registry(self):
        step, proof = self.bundle["step"], self.bundle["step_proof"]
        documents.path_ref(step.get("ref"), "/step/ref")
        leaf = leaf_hash(canonical({"digest": reference(canonical(step)), "ref": step["ref"]}))
        root = bytes.fromhex(self.seal["registry_root"].split(":")[1])
        documents.arr(documents.HEX, high=63)(proof["hashes"], "/step_proof/hashes")
        check_inclusion(leaf, proof["index"], proof["size"], [bytes.fromhex(one) for one in proof["hashes"]], root)

    def check_window(self):
        wrong = rules.check_window(self.authorization, seconds(self.consumption["at"]))
        if wrong:
            raise Bad(wrong)

    def check_permissions(self, policy):
        policy = policy or self.policy()
        if policy.mode == "deny" and not policy.allows:
            raise Bad("policy denies this: it allows no command")
        programs.check_list(policy, self.bundle["step"], self.authorization["sandbox"], self.bundle.get("programs"))
        # What a script runs is found by parsing it.
        return NotChecked("scripts are not read here, so what policy asks of them, and which programs they name, is not known")

    def rest(self):
        held = True if self.held is not None else None
        listed = (self.bundle or {}).get("programs")
        self.run("sandbox", ["receipt-signature", held], lambda: check_sandbox(self.receipt, self.authorization, listed))
        self.run("outcome", ["receipt-signature", "consumption-signature"], lambda: check_outcome(self.receipt, self.consumption))
        self.run("receipt-subjects", ["receipt-signature"], self.check_receipt_subjects)
        self.run("plan", ["bundle", "roster-in-seal", "checkpoint", "consumption-signature", held, "step"], self.check_plan)
        self.run("keys-still-rostered", ["quorum"], self.check_still_rostered)
        why = "because bundle is not established" if self.bundle is None else "only the whole log can tell"
        self.report.found["seal-in-force"] = self.report.found["revocations"] = (NOT_CHECKED, why)
        self.run("witnesses", ["roster-in-seal"], self.check_witnesses)

    def check_receipt_subjects(self):
        check_receipt_subjects(self.receipt)
        check_manifest(self.bundle.get("manifest"), self.receipt["files"], self.bundle["step"])

    def check_plan(self):
        signed, asked, plan = self.authorization.get("plan"), self.bundle["step"].get("plan"), self.bundle.get("plan")
        if signed is None:
            if plan is not None:
                raise Bad("a plan that nobody signed")
            return
        if plan is None:
            raise Bad("the bundle of the plan is missing")
        # Its roster is one of the versions that were connected here.
        inner = _Bundle(canonical(plan), None, [], self.chain)
        report = inner.report.value()
        if not report["verified"]:
            why = [f"{check['name']}: {check['detail']}" for check in report["checks"] if check["finding"] == FAILED]
            raise Bad(f"the bundle of the plan is not verified: {why}")
        if inner.id != self.id:
            raise Bad("the plan is of another boundary")
        if inner.proofs[0]["receipt"].index >= self.proofs[0]["consumption"].index:
            raise Bad("the plan is no earlier entry than the consumption")
        check_plan(signed, asked, self.authorization, seconds(self.consumption["at"]), plan_of(inner.receipt_envelope, inner.receipt, inner.authorization))

    def check_still_rostered(self):
        newest, used = self.chain.newest, self.chain.last
        # Who uses a grant approves nothing.
        signed = [self.receipt_envelope, self.seal_envelope] + ([] if self.used else [self.authorization_envelope])
        keyids = {keyid for envelope in signed for keyid, _ in envelope.signatures}
        if self.used:
            keyids |= self.counted
        def who(roster, keyid):
            role, entry, _ = roster.statement_holder(keyid)
            return role and (role, entry["name"])

        gone = sorted(keyid for keyid in keyids if who(newest, keyid) != who(used, keyid))
        if gone:
            return NotChecked(f"no longer rostered: {', '.join(gone)}")
        return None

    def check_witnesses(self):
        """Nobody demands any here; a bad line of a known witness refuses all, one good one is a witness."""
        named = self.chain.newest.tables["witness"]
        if not named:
            return None
        if not self.holds("checkpoint"):
            return NotChecked("because checkpoint is not established")
        # A key that the boundary had in any version is still its own.
        versions = [*self.chain.versions, self.chain.newest]
        name = self.seal["boundary"]["name"]
        own = [key.public for version in versions for key in version.boundary_keys(name).values()]
        seen = set()
        for entry in named:
            try:
                name, key = read_vkey(entry["vkey"])
            except Bad:
                continue
            if self.note.cosigned_by((name, key)) is not None and key not in own:
                seen.add(key)
        return None if seen else NotChecked("no witness of the roster cosigned")


# What the history asks in the same words.


def logged(index, envelope):
    """The place and the digest of an authorization, as consumption and receipt name it."""
    return {"digest": envelope.digest, "index": index, "leaf": "sha256:" + leaf_hash(envelope.leaf).hex()}


def read_authorization(envelope):
    predicate = documents.read("authorization", envelope.payload)
    if "grant" in predicate and len(envelope.signatures) != 1:
        raise wrong("/signatures", "a use of a grant is signed once: by the grantee, or by the boundary for a token")
    return envelope, predicate


def check_use_signature(envelope, authorization, roster):
    """The only one, by a key of the proposer; by the boundary where a token is the proposer."""
    if "by" in authorization:
        check_boundary_signature(envelope, roster, authorization["boundary"]["name"])
        return
    [(keyid, raw)] = envelope.signatures
    if roster.holder(keyid) != ("proposer", authorization["proposer"]):
        raise Bad(f"{keyid} is no key of the proposer {authorization['proposer']}")
    roster.holders[keyid][2].verify(pae(envelope.payload), raw)


def check_boundary_signature(envelope, roster, name):
    """Exactly one, by a key of the boundary of this name; its key id."""
    if len(envelope.signatures) != 1:
        raise Bad(f"{len(envelope.signatures)} signatures, a boundary signs once")
    keyid, raw = envelope.signatures[0]
    key = roster.boundary_keys(name).get(keyid)
    if key is None:
        raise Bad(f"the boundary {name} has no key {keyid}")
    if len(raw) != 64:
        raise Bad(f"a signature of {len(raw)} bytes, a boundary signs with 64 raw ones")
    key.verify(pae(envelope.payload), raw)
    return keyid


def check_roster_in_seal(seal, roster):
    if seal["roster"] != roster.digest:
        raise Bad("the seal names another roster")
    if sorted(seal["keys"]) != sorted(roster.boundary_keys(seal["boundary"]["name"])):
        raise Bad("the seal's keys are not those that the roster gives this boundary")


def who_may_not(proposer, decision, roster, tokens=None, more=()):
    """Names of who may not count: the proposer, whoever handed it in, and their owners. A lone bundle does not say who owns a
    token, so that its receipt may name more; with the sealed tokens they are exactly these. `more` are the grantee and the
    proposer of a grant."""
    names, all_wanted = set(decision["excluded"]), set()
    for who in (proposer, decision["handed_in_by"], *more):
        role = roster.role_of(who)
        owners = None
        if role and role[0] == "proposer":
            owners = role[1]["owners"]
        elif role and role[0] == "approver" and who in more[1:]:
            # An approver may ask for a grant.
            owners = []
        elif role:
            raise Bad(f"{who} is neither a token nor a rostered proposer")
        elif tokens is not None:
            if who not in tokens:
                raise Bad(f"{who} is no sealed token")
            owners = tokens[who]["owners"]
        wanted = {who} | set(owners or [])
        all_wanted |= wanted
        if not wanted <= names:
            raise Bad(f"the receipt does not say that {', '.join(sorted(wanted - names))} may not count")
    if tokens is not None and names != all_wanted:
        raise Bad(f"the receipt says that {', '.join(sorted(names - all_wanted))} may not count, who could")
    return names


def count_people(held, combined, roster, at):
    """Names to the groups that they count for; every signature must count, each person once."""
    people = rules.People()
    for person, touched in held:
        if person["name"] in people:
            raise Bad(f"{person['name']} signed twice")
        people[person["name"]] = rules.counts_for(person, touched, combined, roster, at)
        if by_passkey(touched, combined.passkeys):
            people.by_passkey.add(person["name"])
    if len(people.by_passkey) > (combined.passkeys or {}).get("most", 0):
        raise Bad("more passkeys than policy lets count")
    return people


def check_decision(people, combined, decision):
    missing = combined.missing(people)
    if missing:
        raise Bad(missing)
    if sorted(people) != decision["approvers"]:
        raise Bad("the receipt names other approvers")
    groups = sorted({group for own in people.values() for group in own})
    if groups != decision["groups"]:
        raise Bad("the receipt names other groups")


def check_spent(receipt, consumption, index, leaf, logged_at):
    stated = receipt["consumption"]
    if (stated["index"], stated["leaf"]) != (index, leaf):
        raise Bad("the receipt names another consumption")
    if stated["item"] >= len(consumption["spent"]):
        raise Bad("the consumption has no such item")
    item = consumption["spent"][stated["item"]]
    if receipt["authorization"] != logged_at:
        raise Bad("the receipt names another authorization")
    if logged_at["index"] + len(consumption["spent"]) - stated["item"] != index:
        raise Bad("the authorization is not directly before the consumption")
    if item["handed_in_by"] != receipt["decision"]["handed_in_by"]:
        raise Bad("the consumption names another submitter than the receipt")
    if item["authorization"] != logged_at:
        raise Bad("the consumption names another authorization")


def check_item(item, authorization):
    for name in ("nonce", "grant", "session"):
        if item.get(name) != authorization.get(name):
            raise Bad(f"the {name} differs from the authorization")


def check_session(authorization, receipt):
    """What the state is only the boundary knows; which one the run began with is signed."""
    signed, stated = authorization.get("session"), receipt.get("session")
    if (signed is None) != (stated is None):
        raise Bad("one of authorization and receipt names a session")
    if signed is not None and stated["before"] != signed["state"]:
        raise Bad("the run began with another state of the session than was signed")


def plan_of(envelope, receipt, authorization):
    """What the receipt of a plan says."""
    return {
        "receipt": envelope.digest,
        "output": receipt["output"]["stdout"]["sha256"],
        "step": authorization["step"]["ref"],
        "params": canonical(authorization["params"]),
        "status": receipt["outcome"]["status"],
        "finished": seconds(receipt["finished_at"]),
    }


def check_plan(signed, asked, authorization, at, plan):
    if (signed["receipt"], signed["output"]) != (plan["receipt"], plan["output"]):
        raise Bad("signed was another receipt or output of a plan")
    if asked is None or plan["step"] != asked["step"]:
        raise Bad("a run of another step than the one that plans")
    if plan["status"] != "succeeded":
        raise Bad("the plan did not succeed")
    if plan["params"] != canonical(authorization["params"]):
        raise Bad("planned was for other parameters")
    if not plan["finished"] <= at <= plan["finished"] + asked["max_age_s"]:
        raise Bad("the plan is too old, or ended after the consumption")


def check_step(step, authorization):
    rules.read_step(step)
    digest = reference(canonical(step))
    if authorization["step"] != {"ref": step["ref"], "digest": digest}:
        raise Bad(f"signed was another step than {step['ref']} {digest}")
    if (step["session"] != "none") != ("session" in authorization) or ("plan" in step) != ("plan" in authorization):
        raise Bad("the authorization has a session and a plan exactly where the step has")
    script = step["source"] if step["template"] == "none" else templates.of_step(step).render(authorization["params"])
    if authorization["rendered"] != reference(script.encode()):
        raise Bad("signed was another script than the step gives for these parameters")


def check_sandbox(receipt, authorization, listed):
    if receipt["outcome"]["status"] in ("not_started", "unknown"):
        return NotChecked("nothing ran, or nobody saw")
    facts = receipt["sandbox"]
    if set(facts["layers"]) & set(facts["missing"]):
        raise Bad("a layer was held and was not")
    missing = set(authorization["sandbox"]["require"]) - set(facts["layers"])
    if missing:
        raise Bad(f"required and not held: {', '.join(sorted(missing))}")
    stated = receipt.get("programs", {"mode": "any"})
    count = None if stated["mode"] == "any" else stated["listed"]
    if count != (None if listed is None else len(listed)):
        raise Bad("the receipt does not state the list that was signed")
    return None


def check_outcome(receipt, consumption):
    outcome = receipt["outcome"]
    status, code = outcome["status"], outcome.get("exit_code")
    rest = {name for name in ("exit_code", "signal", "limit") if name in outcome}
    allowed = {
        "succeeded": rest == {"exit_code"} and code == 0,
        "warned": rest == {"exit_code"} and code == 2,
        "failed": (rest == {"exit_code"} and code not in (0, 2)) or rest == {"signal"},
        "killed": rest == {"limit"},
    }
    if not allowed.get(status, not rest):
        raise Bad(f"{status} with {outcome}")
    spent, begin, end = seconds(consumption["at"]), seconds(receipt["started_at"]), seconds(receipt["finished_at"])
    if not spent <= begin <= end:
        raise Bad("the times are not in order")
    if status == "unknown" and begin != end:
        raise Bad("unknown, and two times")


def check_receipt_subjects(receipt):
    # What is said of nothing can be known.
    for name, stream in receipt["output"].items():
        if (stream["recorded"] == 0, stream["recorded"] == 0) != (stream["sha256"] == NO_SHA256, stream["blake3"] == NO_BLAKE3):
            raise Bad(f"{name}: the digests are not of {stream['recorded']} bytes")
    files = receipt["files"]
    if (files["count"] == 0) != (files["manifest"] == reference(b"[]")) or (files["count"] == 0 and files["bytes"]):
        raise Bad("the manifest is not of so many files")
    if files["count"] > 1000:
        raise Bad("more than 1,000 files")


def check_manifest(manifest, files, step):
    if (manifest is None) != (files["count"] == 0):
        raise Bad("a manifest exactly where the run left files")
    if manifest is None:
        return
    stated = {"count": len(manifest), "bytes": sum(one["bytes"] for one in manifest), "manifest": reference(canonical(manifest))}
    if stated != files:
        raise Bad("the receipt names another manifest, or other sums of it")
    if step.get("outputs") == [] and any(one["path"] == parts.OUTPUTS for one in manifest):
        raise Bad("the file of outputs, of a step that has none")
