"""The roster: who is who, and its chain of versions. From `formats.md`."""

import base64
import re

import documents
from keys import Key, Passkey, Reader, foreign
from passkeys import read as read_passkey
from shapes import token, wrong
from wire import PAYLOAD_TYPE, Bad, Envelope, canonical, pae, reference, seconds, sha256, strict, unbase64


# The tables of a roster, each with the role of its entries.
TABLES = {
    "approver": "approvers",
    "group": "groups",
    "proposer": "proposers",
    "operator": "operators",
    "boundary": "boundaries",
    "witness": "witnesses",
}


class Roster:
    """One version: `digest`, `version`, `predicate`; `tables`: role to entries with their names; `holders`: key id to role, entry
    and key."""

    def __init__(self, payload):
        self.digest, self.payload = reference(payload), payload
        self.predicate = documents.read("roster", payload)
        predicate = self.predicate
        self.version, self.threshold = predicate["version"], predicate["threshold"]
        if (self.version == 1) != ("previous" not in predicate):
            raise Bad("version 1 and no other is without previous")
        self.holders, self.material, self.foreign = {}, {}, []
        # As `holders`. A passkey signs what section 5 lists, never a roster.
        self.passkeys = {}
        self.tables = {
            role: [{"name": name, **entry} for name, entry in predicate[table].items()] for role, table in TABLES.items()
        }
        self._read_names()
        for role in ("approver", "proposer", "operator", "boundary"):
            for entry in self.tables[role]:
                for number, line in enumerate(entry["keys"]):
                    place = f"/predicate/{TABLES[role]}/{token(entry['name'])}/keys/{number}"
                    self._read_key(role, entry, line, place)
        able = {entry["name"] for role, entry, _ in self.holders.values() if role == "approver"}
        if self.threshold > min(16, len(able)):
            raise wrong("/predicate/threshold", "nobody can meet it")

    def _read_key(self, role, entry, line, place):
        try:
            blob = foreign(line)
            key = Key(line) if blob is None else None
        except Bad as error:
            raise wrong(place, str(error)) from error
        material = blob if key is None else key.public
        if material in self.material:
            raise wrong(place, f"a key of {entry['name']} stands twice")
        self.material[material] = (role, entry["name"])
        if key is None:
            self.foreign.append({"role": role, "name": entry["name"], "key": line})
            if read_passkey(Reader(blob)):
                key = Passkey(blob)
                self.passkeys[key.keyid] = (role, entry, key)
        else:
            self.holders[key.keyid] = (role, entry, key)

    def _read_names(self):
        people = [entry["name"] for role in ("approver", "proposer", "operator") for entry in self.tables[role]]
        if len(set(people)) != len(people):
            raise Bad("a name stands twice")
        for person in self.tables["approver"]:
            if len(set(person["groups"])) != len(person["groups"]) or not set(person["groups"]) <= set(self.predicate["groups"]):
                raise Bad(f"{person['name']} is in a group twice or in one that there is not")
            if "valid_after" in person and "valid_before" in person:
                if seconds(person["valid_after"]) >= seconds(person["valid_before"]):
                    raise Bad(f"{person['name']} is valid for no time")
        for witness in self.tables["witness"]:
            name, rest = witness["name"], witness["vkey"][len(witness["name"]) :]
            plain = re.fullmatch(r"[^\s+\x00-\x1f\x7f-\x9f]+", name) and witness["vkey"].startswith(name)
            key = re.fullmatch(r"\+[0-9a-f]{8}\+(.+)", rest) if plain else None
            if key is None or len(unbase64(key.group(1))) < 2:
                raise Bad("a witness's key is not of its name, or of another form")
            if not witness["url"].startswith(("https://", "http://")):
                raise Bad("a witness's url is neither https nor http")

    def approver(self, keyid):
        """The approver with this key, and the key; None where it is no approver's."""
        role, entry, key = self.holders.get(keyid, (None, None, None))
        return (entry, key) if role == "approver" else None

    def statement_holder(self, keyid):
        """Role, entry and key, of a passkey too; None thrice for nobody."""
        return self.holders.get(keyid) or self.passkeys.get(keyid, (None, None, None))

    def statement_approver(self, keyid):
        """As `approver`, of a passkey too."""
        role, entry, key = self.statement_holder(keyid)
        return (entry, key) if role == "approver" else None

    def holder(self, keyid):
        """Role and name of who has this key, None for nobody."""
        role, entry, _ = self.holders.get(keyid, (None, None, None))
        return (role, entry["name"]) if role else None

    def boundary_keys(self, name):
        """The keys of the boundary of this name, by key id."""
        return {
            keyid: key
            for keyid, (role, entry, key) in self.holders.items()
            if role == "boundary" and entry["name"] == name
        }

    def wants_presence(self, group):
        """How much presence a signature for this group must show: 0, 1 a touch, 2 a verified person."""
        return wanted_presence(self.tables["group"], group)

    def role_of(self, name):
        """`approver`, `proposer` or `operator`, and the entry; None for a name that is not rostered."""
        for role in ("approver", "proposer", "operator"):
            for entry in self.tables[role]:
                if entry["name"] == name:
                    return role, entry
        return None


def wanted_presence(groups, name):
    levels = {None: 0, "required": 1, "verified": 2}
    return max((levels[one.get("presence")] for one in groups if one["name"] == name), default=0)


# The fields of a roster that follow from its place in a chain.
BY_PLACE = ("version", "previous")


def patch_between(before, following):
    """The only patch (RFC 7396) from one object to another: arrays whole, null for a key that goes, nothing without effect."""
    patch = {key: None for key in before if key not in following}
    for key, value in following.items():
        if key not in before:
            patch[key] = value
        elif before[key] != value or type(before[key]) is not type(value):
            both = isinstance(before[key], dict) and isinstance(value, dict)
            patch[key] = patch_between(before[key], value) if both else value
    return patch


def merge(target, patch):
    """What an object becomes by a merge patch."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merge(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def patched(before, version):
    """The envelope of the version that differs from the one in the envelope `before` by a patch."""
    predicate = documents.read("roster", before.payload)
    number = predicate["version"] + 1
    content = {key: value for key, value in predicate.items() if key not in BY_PLACE}
    patch = version["patch"]
    if any(key in patch for key in BY_PLACE):
        raise Bad(f"the patch of version {number} changes what follows from its place")
    following = merge(content, patch)
    if canonical(patch_between(content, following)) != canonical(patch):
        raise Bad(f"the patch of version {number} is not the only one")
    following.update(version=number, previous=before.digest)
    subject = {"digest": {"sha256": sha256(canonical(following)).hex()}, "name": "roster"}
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": following,
        "predicateType": "https://countersign.dev/roster/v1",
        "subject": [subject],
    }
    payload = base64.b64encode(canonical(statement)).decode()
    return Envelope({"payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": version["signatures"]})


def envelopes_of(versions, most=None):
    """The envelopes of versions in the form of a bundle: the first in full, each later one made again."""
    made, size = [], 0
    for number, one in enumerate(versions):
        if ("payload" in one) != (number == 0):
            raise Bad("the first version stands in full, and each later one as a patch")
        if most is not None and size > most:
            raise Bad(f"the versions before have more than {most} bytes together", "too-large")
        made.append(Envelope(one) if number == 0 else patched(made[-1], one))
        size += len(made[-1].payload)
    return made


class Chain:
    """Versions without a gap, each connected with the one before; one of them, or one that they lead to, is trusted."""

    def __init__(self, envelopes, trusted_digest, known=()):
        if not 1 <= len(envelopes) <= 65536:
            raise Bad(f"{len(envelopes)} versions of the roster, of 1 to 65,536")
        self.trusted, self.known = trusted_digest, list(known)
        # Versions that are connected by signatures: the one before, itself, its envelope.
        self.signed = []
        # Keys that a version no longer had, with that version.
        self.gone = {}
        # What stands before the trusted version is connected by `previous`, what follows by signatures.
        self.anchor = None
        # Where the verifier has the versions before the first, the chain begins with them.
        self.versions = []
        for roster in self._before(envelopes[0]):
            self._push(roster)
        self._extend(envelopes)

    def _same(self):
        chain = Chain.__new__(Chain)
        chain.__dict__.update(self.__dict__)
        return chain

    def extended(self, envelopes):
        """The chain with later versions."""
        chain = self._same()
        chain.versions, chain.signed, chain.gone = list(self.versions), list(self.signed), dict(self.gone)
        chain._extend(envelopes)
        return chain

    def until(self, version):
        """The chain that ends with this version; those after it are known."""
        versions = [roster for roster in self.versions if roster.version <= version]
        if not versions or versions[-1].version != version:
            raise Bad(f"version {version} of the roster is not in the bundle of the run")
        chain = self._same()
        chain.versions, chain.last = versions, versions[-1]
        chain.unguarded = {chain.last.version} if chain.last.threshold == 0 else set()
        return chain

    @property
    def begins(self):
        """The first version. Whether a key returns that was removed before it is not checked."""
        return self.versions[0].version

    def _before(self, envelope):
        """The versions that the verifier has before this one, as far back as it has them."""
        roster = Roster(envelope.payload)
        known, found = {one.digest: one for one in self.known}, []
        while "previous" in roster.predicate and roster.predicate["previous"] in known:
            roster = known[roster.predicate["previous"]]
            found.insert(0, roster)
        return found

    def _push(self, roster):
        for public in roster.material:
            if public in self.gone:
                raise Bad(f"a key that version {self.gone[public]} no longer had is back in version {roster.version}")
        if self.versions:
            for public in set(self.versions[-1].material) - set(roster.material):
                self.gone[public] = roster.version
        self.versions.append(roster)
        if self.anchor is None and roster.digest == self.trusted:
            self.anchor = len(self.versions) - 1

    def _extend(self, envelopes):
        for envelope in envelopes:
            number = self.versions[-1].version + 1 if self.versions else None
            try:
                roster = Roster(envelope.payload)
            except Bad as error:
                raise Bad(f"version {number or 'one'} of the roster: {error}", error.reason, error.at) from error
            if number is not None and roster.version != number:
                raise Bad(f"version {roster.version} stands where version {number} is expected")
            if roster.version == 1 and envelope.signatures:
                raise Bad("version 1 is trusted by hand and not signed")
            check_order(envelope, roster)
            if number is not None:
                self._check_step(self.versions[-1], roster, envelope, self.anchor is not None)
            self._push(roster)
        self.last = self.newest = self.versions[-1]
        # From the trusted one on, those whose successor needs nobody's signature.
        anchor = len(self.versions) - 1 if self.anchor is None else self.anchor
        self.unguarded = {roster.version for roster in self.versions[anchor:] if roster.threshold == 0}
        self._check_trust()

    def check_without(self, is_revoked, since):
        """Later versions than `since` meet their thresholds without the signatures of these keys too."""
        for before, roster, envelope in self.signed:
            if roster.version <= since:
                continue
            keyids = [keyid for keyid, _ in envelope.signatures if not is_revoked(keyid)]
            for whose in (before, roster):
                names = {whose.approver(keyid)[0]["name"] for keyid in keyids if whose.approver(keyid)}
                if len(names) < whose.threshold:
                    raise Bad(f"version {roster.version} lacks signatures of version {whose.version} by keys that are not revoked")

    def _check_step(self, before, roster, envelope, by_signatures):
        if roster.predicate["previous"] != before.digest:
            raise Bad(f"version {roster.version} follows another roster")
        if roster.predicate["name"] != before.predicate["name"]:
            raise Bad(f"version {roster.version} has another name")
        keyids = [keyid for keyid, _ in envelope.signatures]
        if not by_signatures:
            return
        self.signed.append((before, roster, envelope))
        # By version: who signed, and with which keys.
        signed_before, signed_own = {}, {}
        for keyid, raw in envelope.signatures:
            found = before.approver(keyid) or roster.approver(keyid)
            if found is None:
                raise Bad(f"version {roster.version} is signed by {keyid}, who is no approver")
            found[1].verify(pae(envelope.payload), raw)
            for whose, names in ((before, signed_before), (roster, signed_own)):
                approver = whose.approver(keyid)
                if approver:
                    # Two keys of one person are one person.
                    names.setdefault(approver[0]["name"], []).append(keyid)
        for keyid in keyids:
            # For one of the two versions it is the only one of its person.
            if [keyid] not in [*signed_before.values(), *signed_own.values()]:
                raise Bad(f"the signature of {keyid} under version {roster.version} adds nothing to the others")
        for whose, names in ((before, signed_before), (roster, signed_own)):
            if len(names) < whose.threshold:
                raise Bad(f"{len(names)} approvers of version {whose.version} signed, its threshold is {whose.threshold}")

    def _check_trust(self):
        digest, known = self.trusted, {roster.digest: roster for roster in self.known}
        newest = known.get(digest)
        if self.anchor is not None:
            if newest is not None and newest.version > self.last.version:
                self.newest = newest
            return
        # A later trusted version leads back by `previous`.
        walk, first, later = newest, newest, []
        while walk is not None:
            first = walk
            later.append(walk)
            if walk.predicate.get("previous") == self.last.digest:
                # No key returns in the versions that the verifier has either.
                both = self._same()
                both.versions, both.gone = list(self.versions), dict(self.gone)
                for roster in reversed(later):
                    both._push(roster)
                self.newest = newest
                return
            walk = known.get(walk.predicate.get("previous"))
        error = Bad(f"no version of the roster is the trusted one ({digest})", "no-trust")
        error.missing = None
        if newest is None:
            error.missing = (1, self.begins - 1) if self.begins > 1 else None
        elif first.version > self.last.version + 1:
            error.missing = (self.last.version + 1, first.version - 1)
        elif newest.version + 1 < self.begins:
            error.missing = (newest.version + 1, self.begins - 1)
        raise error


def check_order(envelope, roster):
    keyids = [keyid for keyid, _ in envelope.signatures]
    if any(one >= other for one, other in zip(keyids, keyids[1:])):
        raise Bad(f"the signatures of version {roster.version} are out of order or doubled")


def read_trust(argument, data=None):
    """Digest and known versions of what stands behind `--roster`: sha256:…, a payload, an envelope, or an array of envelopes."""
    if argument.startswith("sha256:"):
        documents.DIGEST(argument, "the roster's digest")
        return argument, []
    value = strict(data, 4 << 20)
    if isinstance(value, list):
        rosters = [Roster(Envelope(one).payload) for one in value]
        if not rosters:
            raise Bad("no roster in the file")
        return rosters[-1].digest, rosters
    payload = Envelope(value).payload if "payload" in value else data
    roster = Roster(payload)
    return reference(payload), [roster]
