"""Runs in an emergency, runs with an unknown end, and their reviews. From `formats-bundles.md`, section 22.4."""

import rules
from wire import Bad, pae, strict


class Run:
    """A run that needs a review, or needed one. `emergency` is None, `open` or `closed`. `end` is None, `unsettled`, `disputed` or
    `settled`; `word` is how a settled run ended."""

    def __init__(self, index, place, receipt, authorization, item, sealed):
        self.entry, self.place, self.item, self.sealed = index, place, item, sealed
        self.boundary, self.ref = authorization["boundary"], authorization["step"]["ref"]
        self.approvers, self.excluded = receipt["decision"]["approvers"], receipt["decision"]["excluded"]
        self.emergency = "open" if "emergency" in authorization else None
        self.end = "unsettled" if receipt["outcome"]["status"] == "unknown" else None
        # The entry that closed the run, and the newest review of each person.
        self.closed_at, self.said, self.word = None, {}, None
        # Whether another earlier emergency can still change what is found about this run.
        self.may_exceed = self.emergency is not None

    def is_open_before(self, place):
        return self.emergency is not None and self.place < place and (self.closed_at is None or self.closed_at > place[0])

    def count(self, index, name, opinion, still_counts):
        """The effect of one more review, at its entry. An opinion has the groups, the word about the end, and the key id.
        `still_counts` is true for a name that the roster lists and a key that is not revoked."""
        policy, combined = self.rules_of_run()
        changes_end = self.end in ("unsettled", "disputed") or self.disputes(opinion)
        self.said[name] = opinion
        anyone = {"from": combined.groups}
        if self.emergency == "open":
            wanted = policy.emergency["review"] if policy.emergency else anyone
            people = [one for one, (own, *_) in self.said.items() if own & set(wanted["from"]) and one not in self.approvers]
            if len(people) >= wanted.get("required", 1):
                self.emergency, self.closed_at = "closed", index
        if changes_end:
            wanted = policy.settle or anyone
            words = [
                word
                for one, (own, word, keyid) in self.said.items()
                if own & set(wanted["from"]) and word is not None and still_counts(one, keyid)
            ]
            is_enough = len(words) >= wanted.get("required", 1)
            self.end = "disputed" if len(set(words)) > 1 else "settled" if words and is_enough else "unsettled"
            self.word = words[0] if self.end == "settled" else None

    def disputes(self, opinion):
        """Whether a person who may settle says something else than what is settled."""
        policy, combined = self.rules_of_run()
        groups, word, _ = opinion
        wanted = policy.settle or {"from": combined.groups}
        return self.end == "settled" and word not in (None, self.word) and bool(groups & set(wanted["from"]))

    def rules_of_run(self):
        """The policy for the step, and the approval rules of policy and of the step."""
        policy = self.sealed.policy_for(self.ref)
        return policy, rules.Rules(policy.approvals, self.sealed.steps[self.ref]["approvals"])


class Reviews:
    """`runs`: by the digest of the receipt's payload."""

    def __init__(self):
        self.runs = {}

    def add(self, digest, run):
        """Knows one more run. Gives the runs before which this run turns out to have been open."""
        if digest in self.runs or (run.emergency, run.end) == (None, None):
            return []
        self.runs[digest] = run
        return [one for one in self.runs.values() if one.may_exceed and run.is_open_before(one.place)]

    def check_emergency(self, run):
        """Fewer emergencies were open before this run than policy permits."""
        if not run.may_exceed:
            return
        # Found at most once; without a rule of policy, the finding is that of the quorum.
        run.may_exceed = False
        emergency = run.sealed.policy_for(run.ref).emergency
        before = {one.place for one in self.runs.values() if one.is_open_before(run.place)}
        if emergency and len(before) >= emergency["max_unreviewed"]:
            raise Bad(f"{len(before)} emergencies were open before item {run.place[1]} of entry {run.place[0]}")
        run.may_exceed = emergency is not None

    def read(self, index, envelope, review, roster, at, is_revoked):
        """One review by the state before it: the digest of the receipt, and the run. A review that breaks a rule has no effect."""
        digest = "sha256:" + strict(envelope.payload, 8 << 10)["subject"][0]["digest"]["sha256"]
        run = self.runs.get(digest)
        if run is None or (run.emergency != "open" and run.end is None):
            raise Bad("no earlier receipt of a run that needs a review")
        if review["boundary"] != run.boundary:
            raise Bad("it is of another boundary or epoch than the run")
        if len(envelope.signatures) != 1:
            raise Bad(f"{len(envelope.signatures)} signatures, of the one who reviews")
        [(keyid, raw)] = envelope.signatures
        approver = roster.approver(keyid)
        if approver is None or is_revoked(keyid):
            raise Bad(f"{keyid} is no approver's, or revoked")
        person, key = approver
        groups = rules.counts_for(person, key.verify(pae(envelope.payload), raw), run.rules_of_run()[1], roster, at)
        if person["name"] in run.excluded:
            raise Bad(f"{person['name']} may not review this run")
        opinion = groups, review.get("observed"), keyid
        if run.emergency != "open" and run.end == "settled" and not run.disputes(opinion):
            raise Bad("the run is settled, and this review says nothing else")
        listed = lambda name: (roster.role_of(name) or ("",))[0] == "approver"
        run.count(index, person["name"], opinion, lambda name, key: listed(name) and not is_revoked(key))
        return digest, run
