"""Passkeys: what a browser signs for a website. From `formats.md`, sections 5 and 11, and OpenSSH's PROTOCOL.u2f."""

import base64
import hashlib
import re
import struct

import p256
from wire import Bad, strict

LINE, ASSERTION = b"sk-ecdsa-sha2-nistp256@openssh.com", b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com"
MOST = 1024
PRESENT, VERIFIED, MAY_BE_COPIED, IS_COPIED, NEW_KEY, EXTENSIONS = 1, 4, 8, 16, 64, 128


class Touch(int):
    """What the signature of a passkey shows of a person, 1 or 2 as for security keys; `synced`: whether the key may be copied."""

    synced = False


def read(reader):
    """Point and host of a passkey's blob, None for another key."""
    try:
        kind, curve, point, host = (reader.text() for _ in range(4))
        reader.end()
    except Bad:
        return None
    named = re.fullmatch(rb"[a-z0-9-]+(\.[a-z0-9-]+)*", host) and len(host) <= 253
    return (point, host) if kind == LINE and curve == b"nistp256" and len(point) == 65 and point[0] == 4 and named else None


def verify(point, host, signed, inner):
    """The inner signature after its type; `signed` is the data of the SSHSIG."""
    pair = type(inner)(inner.text())
    r, s = number(pair.text()), number(pair.text())
    pair.end()
    flags, counter = inner.byte(), inner.number()
    origin, data, extensions = (inner.text() for _ in range(3))
    inner.end()
    if not flags & PRESENT:
        raise Bad("nobody was present")
    if flags & (NEW_KEY | EXTENSIONS) or extensions:
        raise Bad("extensions, or the data of a new key")
    if flags & (MAY_BE_COPIED | IS_COPIED) == IS_COPIED:
        raise Bad("a copy of what can't be copied")
    check_client_data(strict(data, MOST), host, origin, signed)
    message = hashlib.sha256(host).digest() + struct.pack(">BI", flags, counter) + hashlib.sha256(data).digest()
    if not p256.verify(point, message, r, s):
        raise Bad("the signature does not hold")
    touch = Touch(2 if flags & VERIFIED else 1)
    touch.synced = bool(flags & MAY_BE_COPIED)
    return touch


def check_client_data(data, host, origin, signed):
    if not isinstance(data, dict) or data.get("type") != "webauthn.get":
        raise Bad("no client data of webauthn.get")
    if data.get("challenge") != base64.urlsafe_b64encode(signed).decode().rstrip("="):
        raise Bad("another challenge")
    named = data.get("origin")
    if not isinstance(named, str) or named.encode() != origin:
        raise Bad("the two origins differ")
    found = re.fullmatch(r"https://([^:/]*)(?::([1-9][0-9]{0,4}))?", named)
    if found is None or found.group(1).encode() != host:
        raise Bad("not https and the host of the passkey")
    if found.group(2) and (int(found.group(2)) > 65535 or found.group(2) == "443"):
        raise Bad("no port as browsers write it")
    if data.get("crossOrigin", False) is not False or "topOrigin" in data:
        raise Bad("inside of a page of another origin")


def number(data):
    """A positive mpint below the order, in its shortest form."""
    if not data or data[0] >= 128 or (data[0] == 0 and (len(data) == 1 or data[1] < 128)):
        raise Bad("no positive number in its shortest form")
    value = int.from_bytes(data, "big")
    if value >= p256.N:
        raise Bad("not below the order of the group")
    return value


def by_passkey(touched, rule):
    """Whether a passkey signed; Bad if policy's `passkeys` (or None) does not let it count."""
    if not isinstance(touched, Touch):
        return False
    if rule is None:
        raise Bad("policy lets no passkey count")
    if touched.synced and not rule["synced"]:
        raise Bad("policy lets no passkey count that may be copied")
    return True
