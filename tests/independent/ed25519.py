"""Ed25519 as RFC 8032 writes it, strict: one encoding for each key and each signature.

OpenSSL takes keys of small order, under which anybody can sign anything, so it is asked only for a second opinion
(`openssl_says`). What is refused here: S not below L, an encoding of A or R that is not the canonical one, A or R of small order.
The equation is the one without the cofactor, R = [S]B - [h]A.
"""

import functools
import hashlib
import os
import subprocess
import tempfile

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def verify(public, message, signature):
    """Whether `signature` (64 bytes) over `message` holds under `public` (32 bytes)."""
    return _verify(bytes(public), bytes(message), bytes(signature))


@functools.lru_cache(maxsize=4096)
def is_sound_key(public):
    """Whether these 32 bytes are the canonical encoding of a point that is not of small order."""
    point = decode(public)
    return point is not None and not is_small(point)


def decode(data):
    """A point in extended coordinates, or None: RFC 8032, 5.1.3, and only the canonical encoding."""
    if len(data) != 32:
        return None
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * SQRT_M1 % P
    if v * x * x % P != u:
        return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def encode(point):
    x, y, z, _ = point
    inverse = pow(z, P - 2, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def is_small(point):
    """Whether eight times the point is the neutral element."""
    for _ in range(3):
        point = add(point, point)
    return point[0] % P == 0 and (point[1] - point[2]) % P == 0


def add(one, other):
    """RFC 8032, 5.1.4: complete, so it also doubles."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * t1 * t2 * D % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(table, scalar):
    """The scalar times the point that the table is of."""
    total = NEUTRAL
    for row in table:
        digit = scalar & 15
        scalar >>= 4
        if digit:
            total = add(total, row[digit])
    return total


@functools.lru_cache(maxsize=256)
def _table(public):
    """[0..15] times 16^i times the negated point, for i from 0 to 63; None for a key that is not sound."""
    if not is_sound_key(public):
        return None
    x, y, z, t = decode(public)
    return _rows((P - x, y, z, P - t))


def _rows(point):
    rows = []
    for _ in range(64):
        row = [NEUTRAL]
        for _ in range(15):
            row.append(add(row[-1], point))
        rows.append(row)
        point = add(row[-1], point)
    return rows


# A verifier sees the same few signatures again and again.
@functools.lru_cache(maxsize=2048)
def _verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    if s >= L:
        return False
    table = _table(public)
    if table is None:
        return False
    h = int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % L
    point = add(multiply(BASE, s), multiply(table, h))
    # Comparing encodings refuses every other encoding of R.
    return encode(point) == r and not is_small(point)


BASE = _rows(decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little")))


def openssl_says(public, message, signature):
    """What `openssl pkeyutl` says of the same signature."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("key", "message", "signature")]
        spki = bytes.fromhex("302a300506032b6570032100") + public
        for path, data in zip(paths, (spki, message, signature)):
            with open(path, "wb") as file:
                file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths[0], "-rawin"]
        done = subprocess.run(command + ["-in", paths[1], "-sigfile", paths[2]], capture_output=True, check=False)
        return done.returncode == 0
