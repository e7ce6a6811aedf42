"""ECDSA over P-256 with SHA-256, as FIPS 186-5 and SEC 1 write it. Both (r, s) and (r, n - s) hold, so a signature is not unique."""

import functools
import hashlib

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


# A verifier sees the same few signatures again and again.
@functools.lru_cache(maxsize=65536)
def verify(point, message, r, s):
    """Whether r and s over `message` hold under the uncompressed `point` (65 bytes)."""
    public = decode(point)
    if public is None or not (0 < r < N and 0 < s < N):
        return False
    inverse, digest = pow(s, N - 2, N), int.from_bytes(hashlib.sha256(message).digest(), "big")
    found = add(multiply(BASE, digest * inverse % N), multiply(public, r * inverse % N))
    return found is not None and found[0] % N == r


def decode(data):
    """A point of the curve, or None. The neutral element has no such encoding."""
    if len(data) != 65 or data[0] != 4:
        return None
    x, y = int.from_bytes(data[1:33], "big"), int.from_bytes(data[33:], "big")
    if x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P:
        return None
    return x, y


def add(one, other):
    """In affine coordinates; None is the neutral element."""
    if one is None or other is None:
        return one or other
    if one[0] == other[0]:
        if (one[1] + other[1]) % P == 0:
            return None
        slope = 3 * (one[0] * one[0] - 1) * pow(2 * one[1], P - 2, P)
    else:
        slope = (other[1] - one[1]) * pow(other[0] - one[0], P - 2, P)
    x = (slope * slope - one[0] - other[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def multiply(point, scalar):
    total = None
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = add(point, point), scalar >> 1
    return total
