"""The signed documents: what each kind holds, and that its subjects are the twins of its predicate. From `formats.md`.

A shape is a function that takes a value and its place and raises Bad where the value is none of it.
"""

import functools
import re

from wire import Bad, Envelope, canonical, reference, seconds, strict_canonical

STATEMENT = "https://in-toto.io/Statement/v1"
KIB = 1024


# Many logs and bundles hold the same documents; nobody changes what is read.
@functools.lru_cache(maxsize=4096)
def read(kind, payload):
    """The predicate of a payload that must be a complete document of this kind."""
    document = strict_canonical(payload, LIMITS[kind])
    if not isinstance(document, dict):
        raise Bad("no statement")
    # Before any other field: a document of one kind never passes as another.
    if document.get("predicateType") != f"https://countersign.dev/{kind}/v1":
        raise Bad(f"no document of kind {kind}")
    if set(document) != {"_type", "predicate", "predicateType", "subject"} or document["_type"] != STATEMENT:
        raise Bad("no in-toto statement, version 1")
    KINDS[kind](document["predicate"], "/predicate")
    predicate, subject = document["predicate"], document["subject"]
    if kind in MORE:
        MORE[kind](predicate)
    SUBJECTS[kind](predicate, subject)
    return predicate


# Shapes.


def obj(needed, more=None):
    more = more or {}

    def check(value, place):
        if not isinstance(value, dict):
            raise Bad(f"{place}: no object")
        for key in needed:
            if key not in value:
                raise Bad(f"{place}: {key} is missing")
        for key, item in value.items():
            shape = needed.get(key) or more.get(key)
            if shape is None:
                raise Bad(f"{place}: unknown field {key!r}")
            shape(item, f"{place}/{key}")

    return check


def arr(item, low=0, high=None, ordered=False):
    def check(value, place):
        if not isinstance(value, list) or len(value) < low or (high is not None and len(value) > high):
            raise Bad(f"{place}: no array of that length")
        for at, one in enumerate(value):
            item(one, f"{place}/{at}")
        if ordered:
            keys = [canonical(one) for one in value]
            if any(one >= other for one, other in zip(keys, keys[1:])):
                raise Bad(f"{place}: out of order or twice")

    return check


def rx(pattern, high=None):
    compiled = re.compile(pattern)

    def check(value, place):
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Bad(f"{place}: {value!r:.60} is not of that form")
        if high is not None and len(value.encode()) > high:
            raise Bad(f"{place}: too long")

    return check


def text(high=None):
    return rx(r"(?s).*", high)


def one_of(*words):
    def check(value, place):
        if not isinstance(value, str) or value not in words:
            raise Bad(f"{place}: {value!r:.60} is none of {', '.join(words)}")

    return check


def number(low=0, high=2**53 - 1):
    def check(value, place):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Bad(f"{place}: no number from {low} to {high}")

    return check


def boolean(value, place):
    if not isinstance(value, bool):
        raise Bad(f"{place}: neither true nor false")


def free(value, place):
    if not isinstance(value, dict):
        raise Bad(f"{place}: no object")


def time(value, place):
    try:
        seconds(value)
    except Bad as error:
        raise Bad(f"{place}: {error}") from error


def path_ref(value, place):
    rx(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*:[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", 255)(value, place)
    if any(part in (".", "..") for part in value.split(":")[0].split("/")):
        raise Bad(f"{place}: a ref does not climb")


def nonce(value, place):
    rx(r"[A-Za-z0-9_-]{22,86}")(value, place)
    rest = len(value) % 4
    # Stray bits in the last letter would be a second spelling.
    if rest == 1 or (rest == 2 and value[-1] not in "AQgw") or (rest == 3 and value[-1] not in "AEIMQUYcgkosw048"):
        raise Bad(f"{place}: no nonce")


def genesis(value, place):
    if isinstance(value, str):
        return HEX(value, place)
    return obj({"follows": obj({"id": DIGEST, "checkpoint": text()})})(value, place)


def envelope(value, place):
    try:
        Envelope.check_shape(value)
    except Bad as error:
        raise Bad(f"{place}: {error}") from error


def files_of_sandbox(value, place):
    obj(
        {"mode": WORKDIRS, "root": one_of("own", "host")},
        {"deny": one_of("stable", "point-in-time"), "masked": number(), "masked_before": number(1)},
    )(value, place)
    if "masked_before" in value and value.get("masked") != 0:
        raise Bad(f"{place}/masked_before: only beside masked 0")


HEX = rx(r"[0-9a-f]{64}")
DIGEST = rx(r"sha256:[0-9a-f]{64}")
BLAKE3 = rx(r"blake3:[0-9a-f]{64}")
KEYID = rx(r"SHA256:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")
NAME = rx(r"[a-z0-9][a-z0-9._@-]*", 64)
BOUNDARY = rx(r"[a-z0-9.-]+(/[a-z0-9._-]+)*", 40)
EPOCH = rx(r"[0-9a-f]{32}")
PROPOSAL = rx(r"prp_[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
LAYER = one_of("capabilities", "filesystem", "landlock", "namespaces", "network", "seccomp")
LAYERS = arr(LAYER, ordered=True)
TEXTS = arr(text(), ordered=True)
PROFILE_LIMITS = ("wall_ms", "cpu_milli", "memory_bytes", "processes", "file_bytes", "disk_bytes", "output_bytes")
CODES = (
    "malformed too-large unknown-step step-changed invalid-params params-mismatch wrong-boundary unknown-signer bad-signature "
    "not-permitted-signer self-approval quorum-missing not-yet-valid expired revoked denied nonce-replayed policy-denied "
    "context-changed session-stale grant-exhausted sandbox-unavailable busy unauthenticated forbidden not-found wrong-state "
    "rate-limited"
).split()
MODES = one_of("none", "allow", "host")
WORKDIRS = one_of("private", "copy", "overlay", "in-place")

PERMISSION = obj(
    {
        "type": one_of("run", "read", "write", "env"),
        "what": text(128),
        "why": one_of("unlisted", "built-in-deny", "unknown"),
    }
)
PROFILE = obj(
    {
        "require": LAYERS,
        "read": TEXTS,
        "write": TEXTS,
        "deny": TEXTS,
        "workdir": WORKDIRS,
        "network": obj({"mode": MODES, "hosts": TEXTS}),
        "sockets": TEXTS,
        "proc": one_of("minimal", "full"),
        "run_as": text(),
        "limits": obj({name: number() for name in PROFILE_LIMITS}),
    },
    {"off_reason": text()},
)
BOUNDARY_OF = obj({"name": BOUNDARY, "id": DIGEST, "epoch": EPOCH})
STREAM = obj(
    {
        "bytes": number(),
        "recorded": number(),
        "truncated": boolean,
        "sha256": DIGEST,
        "blake3": BLAKE3,
        "redactions": number(),
    }
)
HELD = obj({"max": number(), "by": one_of("cgroup2", "rlimit", "service", "tmpfs")})
WORDS = arr(rx(r"[a-z0-9.]{1,32}"), ordered=True)
ENFORCED = obj(
    {"level": one_of("strict", "best-effort", "off"), "layers": LAYERS, "missing": LAYERS},
    {
        "caps": one_of("none"),
        "fs": files_of_sandbox,
        "kill": WORDS,
        "landlock": obj({"abi": number(), "status": one_of("fully", "partially"), "rules": number()}),
        "left": number(),
        "limits": obj(
            {},
            {
                **{name: HELD for name in ("cpu", "disk", "file", "memory", "output", "processes", "wall")},
                "unbounded": arr(rx(r"[a-z][a-z-]{0,31}"), low=1, high=16, ordered=True),
            },
        ),
        "net": MODES,
        "contacted": TEXTS,
        "turned_away": number(),
        "ns": WORDS,
        "seccomp": obj({"sha256": HEX}),
    },
)
PERSON = {"name": NAME, "keys": arr(text())}
APPROVALS = obj({"required": number(), "from": arr(NAME)}, {"each": boolean})


def network(value, place):
    """`none`, `host`, or which hosts."""
    if isinstance(value, dict):
        return obj({"allow": arr(text(), low=1)})(value, place)
    return one_of("none", "host")(value, place)


LISTS = ("read", "write", "deny", "sockets")
# What a step declares of its sandbox, and a rule of policy allows.
OF_SANDBOX = {
    "limits": obj({}, {name: number() for name in PROFILE_LIMITS}),
    "proc": one_of("minimal", "full"),
    **{name: arr(text()) for name in LISTS},
    "workdir": WORKDIRS,
    "network": network,
    "run_as": text(),
}
DECLARED = obj({}, {**OF_SANDBOX, "off_reason": text()})

KINDS = {
    "authorization": obj(
        {
            "boundary": BOUNDARY_OF,
            "proposal": PROPOSAL,
            "nonce": nonce,
            "step": obj({"ref": path_ref, "digest": DIGEST}),
            "params": free,
            "rendered": DIGEST,
            "permissions": arr(PERMISSION, high=64, ordered=True),
            "sandbox": PROFILE,
            "proposer": NAME,
            "reason": text(KIB),
            "issued_at": time,
            "not_before": time,
            "expires_at": time,
        }
    ),
    "denial": obj({"boundary": BOUNDARY_OF, "reason": text()}),
    "roster": obj(
        {
            "name": text(),
            "version": number(1),
            "threshold": number(),
            "policy": DIGEST,
            "approver": arr(obj({**PERSON, "groups": arr(NAME)}, {"valid_after": time, "valid_before": time})),
            "group": arr(obj({"name": NAME}, {"presence": one_of("required", "verified")})),
            "proposer": arr(obj({**PERSON, "owners": arr(NAME)})),
            "operator": arr(obj(PERSON)),
            "boundary": arr(obj({"name": BOUNDARY, "keys": arr(text())})),
            "witness": arr(obj({"name": text(), "vkey": text(), "url": text()})),
        },
        {"previous": DIGEST},
    ),
    "seal": obj(
        {
            "boundary": obj({"name": BOUNDARY}, {"id": DIGEST}),
            "epoch": EPOCH,
            "at": time,
            "number": number(),
            "registry_root": DIGEST,
            "registry": DIGEST,
            "policy": DIGEST,
            "builtins": DIGEST,
            "roster": DIGEST,
            "tokens": DIGEST,
            "configuration": DIGEST,
            "keys": arr(KEYID, low=1, ordered=True),
            "engine": text(),
        },
        {"previous": DIGEST, "genesis": genesis, "rosters": DIGEST},
    ),
    "consumption": obj(
        {
            "seal": DIGEST,
            "at": time,
            "spent": arr(obj({"authorization": DIGEST, "nonce": nonce, "expires_at": time}), low=1, high=16),
        }
    ),
    "receipt": obj(
        {
            "consumption": obj({"index": number(), "leaf": DIGEST, "item": number()}),
            "authorization": envelope,
            "decision": obj(
                {
                    "approvers": arr(NAME, ordered=True),
                    "groups": arr(NAME, ordered=True),
                    "excluded": arr(NAME, ordered=True),
                    "handed_in_by": NAME,
                    "policy": DIGEST,
                }
            ),
            "outcome": obj(
                {
                    "status": one_of(
                        "succeeded", "warned", "failed", "timed_out", "cancelled", "killed", "not_started", "unknown"
                    )
                },
                {"exit_code": number(0, 255), "signal": number(0, 255), "limit": one_of(*PROFILE_LIMITS)},
            ),
            "started_at": time,
            "finished_at": time,
            "duration_ms": number(),
            "output": obj({"stdout": STREAM, "stderr": STREAM}),
            "files": obj({"count": number(), "bytes": number(), "manifest": DIGEST}),
            "sandbox": ENFORCED,
            "usage": obj({"cpu_ms": number(), "memory_peak_bytes": number()}, {"processes_peak": number()}),
            "seal": DIGEST,
            "boundary": obj({"name": BOUNDARY, "id": DIGEST, "keyid": KEYID, "version": text()}),
        }
    ),
    "refusal": obj(
        {"at": time},
        {
            "boundary": obj({"name": BOUNDARY, "id": DIGEST}),
            "code": one_of(*CODES),
            "pointer": text(),
            "principal": text(),
            "counts": free,
        },
    ),
}
LIMITS = {
    "authorization": 20 * KIB,
    "denial": 8 * KIB,
    "roster": 256 * KIB,
    "seal": 40 * KIB,
    "consumption": 16 * KIB,
    "receipt": 48_898,
    "refusal": 8 * KIB,
}
REGISTRY_LEAF = obj({"digest": DIGEST, "ref": path_ref})
TOKEN = obj(
    {
        "name": NAME,
        "owners": arr(NAME),
        "scopes": arr(one_of("operate", "propose", "read"), ordered=True),
        "patterns": arr(text(), ordered=True),
    },
    {"expires_at": time},
)
STEP = obj(
    {
        "ref": path_ref,
        "title": text(),
        "format": one_of("markdown", "gruntwork", "rundown", "runnable"),
        "interpreter": text(),
        "source": text(),
        "files": arr(obj({"path": text(), "bytes": number(), "digest": DIGEST, "executable": boolean})),
        "params": free,
        "template": one_of("none", "gruntwork"),
        "sandbox": DECLARED,
        "approvals": APPROVALS,
        "secrets": arr(text(), ordered=True),
        "outputs": arr(text(), ordered=True),
        "session": one_of("none", "read", "write"),
    },
    {"exclusive": text(), "plan": path_ref},
)
FILE = obj({"path": text(), "bytes": number(), "sha256": DIGEST, "blake3": BLAKE3, "executable": boolean})
BUNDLE = obj(
    {
        "mediaType": one_of("application/vnd.countersign.bundle.v1+json"),
        "receipt": envelope,
        "consumption": envelope,
        "seal": envelope,
        "step": free,
        "step_proof": obj({"index": number(), "size": number(), "hashes": arr(text())}),
        "policy": free,
        "builtins": free,
        "roster": arr(envelope),
        "proofs": obj({"receipt": text(), "consumption": text(), "seal": text()}),
    }
)


def more_of_authorization(predicate):
    if len(canonical(predicate["params"])) > 16 * KIB:
        raise Bad("/predicate/params: more than 16 KiB")


def more_of_seal(predicate):
    first = predicate["number"] == 0
    if first != ("genesis" in predicate) or first == ("previous" in predicate) or first == ("id" in predicate["boundary"]):
        raise Bad("number 0 has genesis and no previous or id; every other the contrary")


def more_of_receipt(predicate):
    if len(canonical({**predicate, "authorization": {}})) > 9400:
        raise Bad("the rest of the receipt is more than 9,400 bytes")
    if len(canonical(predicate["decision"])) > 2 * KIB:
        raise Bad("/predicate/decision: more than 2 KiB")
    for name, stream in predicate["output"].items():
        # Masking may change how long it is.
        if not stream["redactions"] and (
            stream["recorded"] > stream["bytes"] or stream["truncated"] != (stream["recorded"] < stream["bytes"])
        ):
            raise Bad(f"/predicate/output/{name}: truncated says whether fewer bytes are recorded than were written")
    if seconds(predicate["started_at"]) > seconds(predicate["finished_at"]):
        raise Bad("/predicate/finished_at: before it started")


def more_of_consumption(predicate):
    for field in ("authorization", "nonce"):
        values = [item[field] for item in predicate["spent"]]
        if len(set(values)) != len(values):
            raise Bad(f"/predicate/spent: one {field} twice")


def more_of_refusal(predicate):
    if ("code" in predicate) == ("counts" in predicate) or ("code" in predicate) != ("principal" in predicate):
        raise Bad("a refusal is of one input by somebody, or counts")
    if "counts" in predicate:
        if "pointer" in predicate or "principal" in predicate or not predicate["counts"]:
            raise Bad("a summary counts, and nothing else")
        for code, count in predicate["counts"].items():
            one_of(*CODES)(code, "/predicate/counts")
            number(1)(count, "/predicate/counts")


MORE = {
    "authorization": more_of_authorization,
    "seal": more_of_seal,
    "consumption": more_of_consumption,
    "receipt": more_of_receipt,
    "refusal": more_of_refusal,
}


def subject(name, digest):
    return {"name": name, "digest": {"sha256": digest.split(":")[1]}}


def subjects_of_receipt(predicate):
    """All but the first, which is the embedded authorization."""
    output = predicate["output"]
    streams = [subject(name, output[name]["sha256"]) for name in ("stdout", "stderr")]
    return streams + [subject("files", predicate["files"]["manifest"])]


def twins(expected):
    def check(predicate, subjects):
        if subjects != expected(predicate):
            raise Bad("a subject is not the twin of what the predicate says")

    return check


def alone(name):
    """What a denial or a refusal is about stands in its subject and nowhere else."""
    shape = arr(obj({"digest": obj({"sha256": HEX}), "name": one_of(name)}), low=1, high=1)
    return lambda predicate, subjects: shape(subjects, "/subject")


def receipt_subjects(predicate, subjects):
    arr(obj({"digest": obj({"sha256": HEX}), "name": text()}), low=4, high=4)(subjects, "/subject")
    if subjects[1:] != subjects_of_receipt(predicate) or subjects[0]["name"] != "authorization":
        raise Bad("a subject is not the twin of what the predicate says")


SUBJECTS = {
    "authorization": twins(
        lambda p: [
            subject(p["step"]["ref"], p["step"]["digest"]),
            subject("params", reference(canonical(p["params"]))),
        ]
    ),
    "denial": alone("authorization"),
    "refusal": alone("input"),
    "roster": twins(lambda p: [subject("roster", reference(canonical(p)))]),
    "seal": twins(lambda p: [subject("registry", p["registry_root"])]),
    "consumption": twins(lambda p: [subject("authorization", item["authorization"]) for item in p["spent"]]),
    "receipt": receipt_subjects,
}
