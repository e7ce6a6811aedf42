"""Shapes of values: what a document may hold, field by field. From `formats.md`, section 2.

A shape is a function that takes a value and its place. It raises Bad, whose `at` is the pointer, where the value has another form.
"""

import re

from wire import Bad, canonical, seconds


def wrong(place, why):
    return Bad(f"{place}: {why}", "malformed", place)


def obj(needed, more=None):
    more = more or {}

    def check(value, place):
        if not isinstance(value, dict):
            raise wrong(place, "no object")
        for key in needed:
            if key not in value:
                raise wrong(place, f"{key} is missing")
        for key, item in value.items():
            at = f"{place}/{token(key)}"
            shape = needed.get(key) or more.get(key)
            if shape is None:
                raise wrong(at, "an unknown field")
            shape(item, at)

    return check


def arr(item, low=0, high=None, ordered=False, by=None):
    """`ordered` by the canonical JSON of each, or `by` the bytes of one field."""

    def check(value, place):
        if not isinstance(value, list) or len(value) < low or (high is not None and len(value) > high):
            raise wrong(place, "no array of that length")
        for at, one in enumerate(value):
            item(one, f"{place}/{at}")
        if ordered or by:
            keys = [one[by].encode() if by else canonical(one) for one in value]
            for at in range(1, len(keys)):
                if keys[at - 1] >= keys[at]:
                    raise wrong(f"{place}/{at}", "out of order or twice")

    return check


def named(name, item):
    """An object whose keys are names of one shape."""

    def check(value, place):
        if not isinstance(value, dict):
            raise wrong(place, "no object")
        for key, one in value.items():
            at = f"{place}/{token(key)}"
            name(key, at)
            item(one, at)

    return check


def token(key):
    """A key as a token of a pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def rx(pattern, high=None):
    compiled = re.compile(pattern)

    def check(value, place):
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise wrong(place, f"{value!r:.60} is not of that form")
        if high is not None and len(value.encode()) > high:
            raise wrong(place, "too long")

    return check


def text(high=None):
    return rx(r"(?s).*", high)


def one_of(*words):
    """One of a closed list."""

    def check(value, place):
        if not isinstance(value, str) or value not in words:
            raise wrong(place, f"{value!r:.60} is none of {', '.join(words)}")

    return check


def at_most(limit, shape):
    """Of so many bytes of canonical JSON."""

    def check(value, place):
        shape(value, place)
        if len(canonical(value)) > limit:
            raise wrong(place, f"more than {limit} bytes of canonical JSON")

    return check


def number(low=0, high=2**53 - 1):
    def check(value, place):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise wrong(place, f"no number from {low} to {high}")

    return check


def boolean(value, place):
    if not isinstance(value, bool):
        raise wrong(place, "neither true nor false")


def free(value, place):
    if not isinstance(value, dict):
        raise wrong(place, "no object")


def time(value, place):
    try:
        seconds(value)
    except Bad as error:
        raise wrong(place, str(error)) from error


def path_ref(value, place):
    rx(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", 255)(value, place)
    if any(part in (".", "..") for part in value.split(":")[0].split("/")):
        raise wrong(place, "a ref does not climb")


def rel_path(value, place):
    rx(r"[^\x00-\x1f\x7f-\x9f]+", 1024)(value, place)
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in value.split("/")):
        raise wrong(place, "no path below a directory")


def host_path(value, place):
    rx(r"/[^\x00-\x1f\x7f-\x9f]+", 1024)(value, place)
    rel_path(value[1:], place)


def program(value, place):
    if value == WORK:
        return
    rx(r"[^\x00-\x1f\x7f-\x9f]+", 128)(value, place)
    if value in (".", ".."):
        raise wrong(place, "no name of a program")


UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
WORK = "{work}/**"
HEX = rx(r"[0-9a-f]{64}")
DIGEST = rx(r"sha256:[0-9a-f]{64}")
BLAKE3 = rx(r"blake3:[0-9a-f]{64}")
KEYID = rx(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")
NAME = rx(r"[a-z0-9][a-z0-9._@-]*", 64)
BOUNDARY = rx(r"[a-z0-9.-]+(/[a-z0-9._-]+)*", 40)
EPOCH = rx(r"[0-9a-f]{32}")
# 24 bytes, so that each value has one spelling.
NONCE = rx(r"AAAA[A-Za-z0-9_-]{28}")
PROPOSAL = rx("prp_" + UUID7)
GRANT_ID = rx("grt_" + UUID7)
SESSION_ID = rx("ses_" + UUID7)
ARTIFACT_NAME = rx(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
SECRET_NAME = rx(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
VARIABLE = rx(r"(?!PARAM_|COUNTERSIGN_)[A-Za-z_][A-Za-z0-9_]{0,63}")
OUTPUT_NAME = rx(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
TEXTS = arr(text(), ordered=True)
