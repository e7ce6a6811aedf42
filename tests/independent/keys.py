"""OpenSSH public keys, passkeys, and signatures raw and as SSHSIG. From `formats.md` and OpenSSH's PROTOCOL.sshsig and PROTOCOL.u2f."""

import base64
import hashlib
import re
import struct

import ed25519
import passkeys
from wire import Bad, unbase64

PLAIN, SECURITY = "ssh-ed25519", "sk-ssh-ed25519@openssh.com"
NAMESPACE = b"countersign"
MAX_LINE = 1024


def foreign(line):
    """The blob of a key of a type that is not verified here, None for a type that is; Bad for a line of neither form."""
    if not isinstance(line, str) or len(line.encode()) > MAX_LINE or re.search(r"[\x00-\x1f\x7f-\x9f]", line):
        raise Bad("no key line")
    kind, _, rest = line.partition(" ")
    if kind in (PLAIN, SECURITY):
        return None
    if not re.fullmatch(r"[a-z0-9][a-z0-9@.-]{0,63}", kind):
        raise Bad("no type of a key")
    blob = unbase64(rest.split(" ")[0])
    reader = Reader(blob)
    if reader.text() != kind.encode() or reader.at == len(blob):
        raise Bad("the type in the key differs from the line's")
    return blob


class Key:
    """A key of a roster: `keyid`, `public` (32 bytes), `application` (bytes of a security key, else None)."""

    def __init__(self, line):
        if not isinstance(line, str) or len(line.encode()) > MAX_LINE:
            raise Bad("no key line")
        if re.search(r"[\x00-\x1f\x7f-\x9f]", line):
            raise Bad("a control character in a key line")
        parts = line.split(" ", 2)
        if len(parts) < 2 or parts[0] not in (PLAIN, SECURITY):
            raise Bad("a key line is ssh-ed25519 or sk-ssh-ed25519@openssh.com, base64, comment")
        self.blob = unbase64(parts[1])
        self._read(parts[0])
        if not ed25519.is_sound_key(self.public):
            raise Bad("the key is weak, not canonical or no point")
        self.keyid = "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def _read(self, kind):
        reader = Reader(self.blob)
        if reader.text() != kind.encode():
            raise Bad("the type in the key differs from the line's")
        self.kind, self.public, self.application = kind, reader.text(), None
        if kind == SECURITY:
            self.application = reader.text()
            if not self.application:
                raise Bad("a security key without application")
        reader.end()
        if len(self.public) != 32:
            raise Bad("an Ed25519 key has 32 bytes")

    def verify(self, message, signature):
        """Whether a person touched the key: None, it can't tell; 2, the key verified the person as well. Or Bad."""
        if self.kind == PLAIN and len(signature) == 64 and not signature.startswith(b"SSHSIG"):
            if not ed25519.verify(self.public, message, signature):
                raise Bad("the signature does not hold")
            return None
        if self.kind == PLAIN and len(signature) == 64:
            # 64 raw bytes may begin with any six; the other form is never that short.
            if not ed25519.verify(self.public, message, signature):
                raise Bad("the signature does not hold")
            return None
        if not signature.startswith(b"SSHSIG"):
            raise Bad("neither 64 raw bytes nor an SSHSIG")
        return self._verify_sshsig(message, signature)

    def _verify_sshsig(self, message, blob):
        reader = Reader(blob[6:])
        if reader.number() != 1:
            raise Bad("SSHSIG version 1 only")
        if reader.text() != self.blob:
            raise Bad("the SSHSIG is of another key")
        namespace, reserved, algorithm, signature = (reader.text() for _ in range(4))
        reader.end()
        if namespace != NAMESPACE:
            raise Bad(f"the SSHSIG is for the namespace {namespace!r}")
        if reserved:
            raise Bad("the SSHSIG's reserved field is not empty")
        if algorithm not in (b"sha512", b"sha256"):
            raise Bad(f"the SSHSIG hashes with {algorithm!r}")
        digest = hashlib.new(algorithm.decode(), message).digest()
        signed = b"SSHSIG" + b"".join(struct.pack(">I", len(part)) + part for part in (namespace, reserved, algorithm, digest))
        return self._verify_inner(signed, Reader(signature))

    def _verify_inner(self, signed, inner):
        if inner.text() != self.kind.encode():
            raise Bad("the signature is of another kind of key")
        raw, touched = inner.text(), None
        if self.kind == SECURITY:
            flags, counter = inner.byte(), inner.number()
            touched = 2 if flags & 5 == 5 else flags & 1
            signed = (
                hashlib.sha256(self.application).digest()
                + struct.pack(">BI", flags, counter)
                + hashlib.sha256(signed).digest()
            )
        inner.end()
        if not ed25519.verify(self.public, signed, raw):
            raise Bad("the signature does not hold")
        return touched


class Passkey(Key):
    """A foreign key of a roster that signs for a website: `keyid`, `host`."""

    def __init__(self, blob):
        self.kind, self.blob, (self.point, self.host) = None, blob, passkeys.read(Reader(blob))
        self.keyid = "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")

    def _verify_inner(self, signed, inner):
        if inner.text() != passkeys.ASSERTION:
            raise Bad("the signature is not one of a browser")
        return passkeys.verify(self.point, self.host, signed, inner)


class Reader:
    """SSH's wire format."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        part = self.data[self.at : self.at + count]
        if len(part) != count:
            raise Bad("SSH data ends early")
        self.at += count
        return part

    def byte(self):
        return self.take(1)[0]

    def number(self):
        return struct.unpack(">I", self.take(4))[0]

    def text(self):
        return self.take(self.number())

    def end(self):
        if self.at != len(self.data):
            raise Bad("bytes after the SSH data")
