"""Grants: what one permits, for whom, until when, and how often. From `formats.md`, sections 22.2 and 22.3."""

import collections

import documents
import parts
import rules
from shapes import token, wrong
from wire import Bad, canonical, pae, seconds

DAY = 24 * 3600


class Grant:
    """One grant: `terms`, its predicate, and `schemas`, one for each step."""

    def __init__(self, envelope):
        self.envelope, self.digest = envelope, envelope.digest
        self.terms = documents.read("grant", envelope.payload)
        keyids = [keyid for keyid, _ in envelope.signatures]
        if not keyids or keyids != sorted(set(keyids)):
            raise wrong("/signatures", "no signature, or out of order")
        self.schemas = []
        for at, step in enumerate(self.terms["steps"]):
            place = f"/predicate/steps/{at}/params"
            for name, one in step["params"].get("properties", {}).items():
                if parts.any_of(one, computes):
                    raise wrong(f"{place}/properties/{token(name)}", "default or x-secret in a grant")
            if parts.any_of(step["params"], computes):
                raise wrong(place, "default or x-secret in a grant")
            try:
                self.schemas.append(rules.Schema(step["params"]))
            except Bad as error:
                raise wrong(place + str(error).partition(": ")[0], str(error)) from error

    def signers(self, roster):
        """Those who signed and are approvers now: triples of person, touch and key id. Each of their signatures holds."""
        found, message = [], pae(self.envelope.payload)
        for keyid, raw in self.envelope.signatures:
            approver = roster.approver(keyid)
            if approver is not None:
                found.append((approver[0], approver[1].verify(message, raw), keyid))
        return found

    def check_window(self, at):
        issued, begin, end = (seconds(self.terms[name]) for name in ("issued_at", "not_before", "expires_at"))
        if issued > at + rules.SKEW or begin > at or at >= end:
            raise Bad("the grant is not valid at this time")

    @property
    def grantee(self):
        """The name of the proposer or of the token."""
        return grantee_of(self.terms)

    def check_grantee(self, roster, tokens=None):
        """`tokens`: the sealed ones by name; None where nobody can say, as in a bundle."""
        grantee = self.terms["grantee"]
        if "token" in grantee:
            if tokens is not None and tokens.get(self.grantee, {}).get("credential") != grantee["credential"]:
                raise Bad(f"no sealed token {self.grantee} has the credential of the grant")
        elif roster.holder(grantee["key"]) != ("proposer", grantee["name"]):
            raise Bad(f"no proposer {grantee['name']} has the key {grantee['key']}")

    def check_step(self, at, step, policy):
        """Whether policy permits this grant for the sealed step, and the step can be granted."""
        granted = self.terms["steps"][at]
        if granted["digest"] != rules_digest(step):
            raise Bad(f"granted was another {step['ref']}")
        if "plan" in step or parts.has_secret(step["params"]):
            raise Bad(f"{step['ref']} has a plan or a secret parameter")
        if set(granted["params"]["properties"]) != set(step["params"]["properties"]):
            raise Bad(f"the grant does not name exactly the parameters of {step['ref']}")
        standing, terms = policy.standing, self.terms
        if standing is None:
            raise Bad(f"policy permits no grant for {step['ref']}")
        if terms["max_uses"] > standing["max_uses"]:
            raise Bad("more uses than policy permits")
        if seconds(terms["expires_at"]) - seconds(terms["issued_at"]) > standing["max_days"] * DAY:
            raise Bad("longer than policy permits")
        if terms["session"] == "fresh" and standing.get("session") == "none":
            raise Bad("a wider session than policy permits")

    def check_use(self, authorization, keyid, roster):
        """What an authorization may be under this grant, besides its parameters; the place of its step."""
        terms, grantee = self.terms, self.terms["grantee"]
        keys = [grantee["key"]] if "key" in grantee else roster.boundary_keys(terms["boundary"]["name"])
        places = [at for at, one in enumerate(terms["steps"]) if one["ref"] == authorization["step"]["ref"]]
        if not places:
            raise Bad("the grant does not name this step")
        granted = terms["steps"][places[0]]
        for holds, why in (
            (authorization.get("grant") == self.digest, "another grant"),
            (authorization["boundary"] == terms["boundary"], "another boundary or epoch"),
            (authorization["proposer"] == self.grantee, "another proposer"),
            (("by" in authorization) == ("token" in grantee), "a token and no key, or a key and no token"),
            (keyid in keys, "another key"),
            (authorization["step"]["digest"] == granted["digest"], "another definition"),
            (all(one in granted["permissions"] for one in authorization["permissions"]), "more permissions"),
            (authorization["sandbox"] == granted["sandbox"], "another sandbox"),
            (seconds(authorization["expires_at"]) <= seconds(terms["expires_at"]), "a later end"),
            (terms["session"] != "none" or "session" not in authorization, "a session"),
            (all(one in terms["artifacts"] for one in authorization.get("artifacts", [])), "more artifacts"),
        ):
            if not holds:
                raise Bad(f"not covered by the grant: {why}")
        self.schemas[places[0]].check(authorization["params"])
        return places[0]


def grantee_of(terms):
    grantee = terms["grantee"]
    return grantee["token"] if "token" in grantee else grantee["name"]


def rules_digest(step):
    return documents.reference(canonical(step))


def count_signers(signers, combined, roster, at, is_revoked=lambda keyid: False):
    """Names to the groups that they count for, and the keys by which they do; who does not count is left out."""
    best = {}
    for person, touched, keyid in signers:
        try:
            groups = rules.counts_for(person, touched, combined, roster, at)
        except Bad:
            continue
        kept = best.get(person["name"])
        # The key that counts for more groups, then the lower id.
        if not is_revoked(keyid) and (kept is None or len(groups) > len(kept[0])):
            best[person["name"]] = (groups, keyid)
    return {name: groups for name, (groups, _) in best.items()}, {keyid for _, keyid in best.values()}


def check_nobody(signers, excluded):
    names = sorted({person["name"] for person, _, _ in signers} & set(excluded))
    if names:
        raise Bad(f"{', '.join(names)} signed the grant, and may not count")


def computes(declared):
    """Nothing is computed under a grant, and no secret can be narrowed."""
    return bool(set(declared) & {"default", "x-secret"})


class Uses:
    """The grants of a log by the digest of their payload, and how each was used."""

    def __init__(self):
        self.grants = {}

    def add(self, index, envelope, here, roster, tokens):
        grant = Grant(envelope)
        if grant.terms["boundary"] != here:
            raise Bad("the grant is of another boundary or epoch")
        if len(grant.signers(roster)) != len(envelope.signatures):
            raise Bad("a signature is of nobody who approves")
        grant.check_grantee(roster, tokens)
        if any(one["grant"].terms["grant"] == grant.terms["grant"] for one in self.grants.values()):
            raise Bad(f"{grant.terms['grant']} is in the log already")
        self.grants[grant.digest] = {"grant": grant, "entry": index, "used": 0, "open": 0, "times": collections.deque(), "unsettled": {}}

    def get(self, digest, index):
        """The grant of an entry before `index`."""
        found = self.grants.get(digest)
        if found is None or found["entry"] >= index:
            raise Bad("no earlier entry is this grant")
        return found["grant"]

    def count(self, item, at, known):
        """One use: pairs of word and why, of what it breaks. `known`: an earlier item has its session."""
        if "grant" not in item:
            return []
        use = self.grants.get(item["grant"])
        if use is None or not use["open"] and self.revocable(item["grant"], at - 86400) is None:
            return [("grant", "no earlier entry is this grant")]
        terms, found = use["grant"].terms, []
        use["used"] += 1
        use["open"] += 1
        if item["use"] != use["used"]:
            found.append(f"use {item['use']}, but {use['used']} follows")
        if use["used"] > terms["max_uses"]:
            found.append(f"more than {terms['max_uses']} uses")
        if "rate" in terms:
            # Half open: a use of exactly so many seconds ago counts no more.
            times = use["times"]
            while times and times[0] <= at - terms["rate"]["seconds"]:
                times.popleft()
            times.append(at)
            if len(times) > terms["rate"]["uses"]:
                found.append("too many uses in that time")
        if use["unsettled"]:
            found.append(f"the end of a use is unknown since entry {min(use['unsettled'].values())}")
        if terms["session"] == "fresh" and known:
            found.append("the session is not new")
        return [("grant-use", why) for why in found]

    def revocable(self, digest, since):
        use = self.grants.get(digest)
        return use if use is not None and seconds(use["grant"].terms["expires_at"]) > since else None

    def forget(self, since):
        """Nobody revokes a grant after its end, and a later use is a defect. One with an open run stays."""
        self.grants = {
            digest: use for digest, use in self.grants.items() if use["open"] or seconds(use["grant"].terms["expires_at"]) > since
        }

    def close(self, item, index, receipt, status):
        use = self.grants.get(item.get("grant"))
        if use is not None:
            use["open"] = max(0, use["open"] - 1)
        self.end(item, index, receipt, status)

    def end(self, item, index, receipt, status):
        use = self.grants.get(item.get("grant"))
        if use is not None and status == "unknown":
            use["unsettled"].setdefault(receipt, index)

    def settle(self, item, receipt):
        if item.get("grant") in self.grants:
            self.grants[item["grant"]]["unsettled"].pop(receipt, None)
