"""Revocations: who may revoke what, and what is revoked before an entry. From `formats.md`, section 22.3."""

import rules
from grants import grantee_of
from keys import foreign
from passkeys import by_passkey
from wire import Bad, pae, sha256, strict, unbase64


class Revocations:
    """`entries`: kind and hex digest of a subject to the entry that revoked it. Only the order of entries decides."""

    def __init__(self):
        self.entries = {}

    def key(self, keyid, index):
        """The entry before `index` that revoked this key, or None."""
        return self.before("key", bytes_of(keyid), index)

    def token(self, name, index):
        return self.before("token", sha256(name.encode()), index)

    def grant(self, digest, index):
        return self.before("grant", bytes.fromhex(digest.split(":")[1]), index)

    def epoch(self, epoch, index):
        return self.before("epoch", sha256(epoch.encode()), index)

    def before(self, kind, digest, index):
        entry = self.entries.get((kind, digest.hex()))
        return None if entry is None or entry >= index else entry

    def check_signers(self, envelope, index):
        """No key that signed this was revoked before the entry `index`."""
        for keyid, _ in envelope.signatures:
            if self.key(keyid, index) is not None:
                raise Bad(f"signed by {keyid}, which entry {self.key(keyid, index)} revoked", "revoked")

    def read(self, index, envelope, revocation, sealed, here, grants):
        """One revocation by the state before it; what breaks a rule revokes nothing."""
        if revocation["boundary"] != here:
            raise Bad("it is of another boundary or epoch")
        if len(envelope.signatures) != 1:
            raise Bad(f"{len(envelope.signatures)} signatures, of the one who revokes")
        keyid, raw = envelope.signatures[0]
        role, entry, key = sealed.roster.statement_holder(keyid)
        if role is None:
            raise Bad(f"nobody in the roster has the key {keyid}")
        passkey = by_passkey(key.verify(pae(envelope.payload), raw), sealed.passkeys)
        subject = strict(envelope.payload, 8 << 10)["subject"][0]
        kind, digest = subject["name"], subject["digest"]["sha256"]
        if passkey and kind != "epoch" and (kind, digest) != ("key", bytes_of(keyid).hex()):
            raise Bad(f"a passkey revokes no {kind} but itself")
        if self.key(keyid, index) is not None:
            # Its own revocation would stand twice.
            raise Bad(f"signed by {keyid}, which is revoked")
        if not self.may_revoke(kind, digest, keyid, (role, entry["name"]), sealed, grants):
            raise Bad(f"{role} {entry['name']} may not revoke this {kind}")
        if (kind, digest) in self.entries:
            raise Bad(f"this {kind} was revoked at entry {self.entries[kind, digest]} already")
        self.entries[kind, digest] = index

    @staticmethod
    def may_revoke(kind, digest, keyid, signer, sealed, grants):
        role, name = signer
        if kind == "key":
            known = {bytes_of(one).hex() for one in sealed.roster.holders}
            known |= {sha256(foreign(one["key"])).hex() for one in sealed.roster.foreign}
            return digest in known and (role == "operator" or bytes_of(keyid).hex() == digest)
        if kind == "token":
            owners = [one["owners"] for one in (sealed.tokens or {}).values() if sha256(one["name"].encode()).hex() == digest]
            return bool(owners) and (role == "operator" or (role in ("approver", "proposer") and name in owners[0]))
        if kind == "epoch":
            return role in ("approver", "operator")
        use = grants("sha256:" + digest)
        return use is not None and (role == "operator" or may_end(use["grant"].terms, role, name, sealed))


def may_end(terms, role, name, sealed):
    """The grantee, and who could count for a step of the grant."""
    if role == "proposer":
        return name == grantee_of(terms)
    if role != "approver" or sealed.steps is None or sealed.policy is None:
        return False
    groups = set(sealed.roster.role_of(name)[1]["groups"])
    for one in terms["steps"]:
        step = sealed.steps.get(one["ref"])
        if step is not None:
            if groups & set(rules.Rules(sealed.policy_for(one["ref"]).approvals, step["approvals"]).groups):
                return True
    return False


def bytes_of(keyid):
    """The 32 bytes that a key id spells."""
    return unbase64(keyid.split(":", 1)[1] + "=")
