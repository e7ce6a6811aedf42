"""Bytes: strict JSON and its canonical form, base64, digests, DSSE envelopes, times. From `formats.md`."""

import base64
import calendar
import hashlib
import json
import re
import signal

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
TEXT = re.compile(r'"(?:[^"\\]|\\.)*"', re.S)
BRACKET = re.compile(r"[\[\]{}]")


class Bad(Exception):
    """Why something is not what it claims to be. `reason` is a word of `canonical-json.json` or `malformed`, where there is one;
    `at` is the pointer."""

    def __init__(self, why, reason=None, at=""):
        super().__init__(why)
        self.reason, self.at = reason, at


class Open(Exception):
    """Why something can't be decided here: its check is *not checked*."""


MATCH_SECONDS = 2.0


def match(pattern, text):
    """Whether a compiled pattern matches all of a text. Python's matcher goes back on its steps, so that a pattern of a few
    letters can keep it busy for years: what takes too long is not decided."""

    def stop(*_):
        raise Open(f"the pattern {pattern.pattern[:60]!r} takes longer than {MATCH_SECONDS} s here")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MATCH_SECONDS)
    try:
        return pattern.fullmatch(text) is not None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def strict(data, limit):
    """The value in these bytes of JSON, or Bad: size first, then one reading only."""
    if len(data) > limit:
        raise Bad(f"{len(data)} bytes, at most {limit}", "too-large")
    if data.startswith(b"\xef\xbb\xbf"):
        raise Bad("a byte order mark", "encoding")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Bad(f"not UTF-8: {error}", "encoding") from error
    # Depth first: neither the parser nor what walks over its values may be led to recurse without end.
    _check_depth(text)
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_word)
    except json.JSONDecodeError as error:
        raise Bad(f"no JSON: {error}", "syntax") from error
    # Only an escape can write one, and few documents have any.
    if "\\ud" in text or "\\uD" in text:
        _check_texts(value)
    return value


def canonical(value):
    """The one spelling that is hashed and signed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def strict_canonical(data, limit):
    """As `strict`, and the bytes must be the canonical ones."""
    value = strict(data, limit)
    if canonical(value) != data:
        raise Bad("not in canonical form")
    return value


def _object(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise Bad(f"the key {key!r} stands twice", "duplicate-key")
        if key.startswith("$serde_json::"):
            raise Bad(f"the key {key!r} is reserved", "reserved-key")
        found[key] = value
    return found


def _integer(digits):
    if digits == "-0" or len(digits) > 17 or abs(int(digits)) > MAX_INTEGER:
        raise Bad(f"the number {digits[:40]}", "number")
    return int(digits)


def _number(digits):
    raise Bad(f"the number {digits[:40]} is no integer", "number")


def _word(word):
    raise Bad(f"{word} is no JSON", "syntax")


def _check_depth(text):
    depth = 0
    for mark in BRACKET.findall(TEXT.sub("", text)):
        depth += 1 if mark in "[{" else -1
        if depth > MAX_DEPTH:
            raise Bad(f"deeper than {MAX_DEPTH}", "depth")


def _check_texts(value):
    """Half a surrogate pair is no text: UTF-8 can't write it."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Bad("half a surrogate pair", "syntax") from error


def unbase64(text):
    """Standard alphabet, padded, no stray bits: each value has one spelling."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", text) or len(text) % 4:
        raise Bad("not base64 in the standard alphabet, padded")
    data = base64.b64decode(text)
    if base64.b64encode(data).decode() != text:
        raise Bad("stray bits after the base64")
    return data


def sha256(data):
    return hashlib.sha256(data).digest()


def reference(data):
    """`sha256:…` of these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pae(body):
    """DSSE's message: what a signature over a payload covers."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)


def seconds(text):
    """Seconds since 1970 of `YYYY-MM-DDTHH:MM:SSZ`, the one spelling of a time."""
    found = re.fullmatch(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", text) if isinstance(text, str) else None
    if not found:
        raise Bad(f"{text!r} is no time")
    year, month, day, hour, minute, second = map(int, found.groups())
    if year < 1970 or not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59:
        raise Bad(f"{text!r} is no time")
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise Bad(f"{text!r} is no time")
    return calendar.timegm((year, month, day, hour, minute, second))


class Envelope:
    """A DSSE envelope, read strictly: `payload` bytes, `signatures` as pairs of key id and bytes, `leaf` its canonical JSON."""

    def __init__(self, value):
        self.check_shape(value)
        if value["payloadType"] != PAYLOAD_TYPE:
            raise Bad(f"payloadType is not {PAYLOAD_TYPE}")
        self.payload = unbase64(value["payload"])
        if len(value["signatures"]) > 16:
            raise Bad("more than 16 signatures", "too-large")
        self.signatures = []
        for one in value["signatures"]:
            raw = unbase64(one["sig"])
            self.signatures.append((one["keyid"], raw))
        if sum(len(raw) for _, raw in self.signatures) > 8192:
            raise Bad("signatures of more than 8,192 bytes together", "too-large")
        self.leaf = canonical(value)
        self.digest = reference(self.payload)

    @staticmethod
    def check_shape(value):
        """Fields and their types; what the texts say is looked at where the document is."""
        if not isinstance(value, dict) or set(value) != {"payload", "payloadType", "signatures"}:
            raise Bad("an envelope has payload, payloadType and signatures")
        if not isinstance(value["payload"], str) or not isinstance(value["payloadType"], str):
            raise Bad("payload and payloadType are texts")
        if not isinstance(value["signatures"], list):
            raise Bad("signatures are an array")
        for one in value["signatures"]:
            if not isinstance(one, dict) or set(one) != {"keyid", "sig"} or not isinstance(one["sig"], str):
                raise Bad("a signature has keyid and sig")
            if not isinstance(one["keyid"], str) or not KEYID.fullmatch(one["keyid"]):
                raise Bad("a keyid is no key id")


KEYID = re.compile(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")
