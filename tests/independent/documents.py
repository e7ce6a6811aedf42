"""The signed documents: what each kind holds, and that its subjects are the twins of its predicate. From `formats.md`."""

import base64
import functools
import re

import parts
import programs
from log import Proof
from shapes import *
from wire import Bad, Envelope, canonical, reference, seconds, strict_canonical

STATEMENT = "https://in-toto.io/Statement/v1"
KIB = 1024


# Many logs and bundles hold the same documents; nobody changes what is read.
@functools.lru_cache(maxsize=512)
def read(kind, payload):
    """The predicate of a payload that must be a complete document of this kind."""
    document = strict_canonical(payload, LIMITS[kind])
    if not isinstance(document, dict):
        raise wrong("", "no statement")
    # Before any other field: a document of one kind never passes as another.
    if document.get("predicateType") != f"https://countersign.dev/{kind}/v1":
        raise wrong("/predicateType", f"no document of kind {kind}")
    shape = {"_type": one_of(STATEMENT), "predicate": KINDS[kind], "predicateType": text(), "subject": SUBJECT_LIST}
    obj(shape)(document, "")
    predicate = document["predicate"]
    if kind in MORE:
        MORE[kind](predicate, payload)
    SUBJECTS[kind](predicate, document["subject"])
    return predicate


def genesis(value, place):
    if isinstance(value, str):
        return HEX(value, place)
    return obj({"follows": obj({"id": DIGEST, "checkpoint": text()})})(value, place)


def envelope(value, place):
    try:
        Envelope.check_shape(value)
    except Bad as error:
        raise wrong(place + error.at, str(error)) from error


def envelope_of(kind, high):
    """A whole signed document of this kind."""

    def check(value, place):
        envelope(value, place)
        try:
            read_one = Envelope(value)
        except Bad as error:
            raise wrong(place, str(error)) from error
        keyids = [keyid for keyid, _ in read_one.signatures]
        if not 1 <= len(keyids) <= high or keyids != sorted(set(keyids)):
            raise wrong(f"{place}/signatures", f"{len(keyids)} signatures, or out of order")
        try:
            read(kind, read_one.payload)
        except Bad as error:
            raise wrong(f"{place}/payload{error.at}", str(error)) from error

    return check


def files_of_sandbox(value, place):
    obj(
        {"mode": WORKDIRS, "root": one_of("own", "host")},
        {"deny": one_of("stable", "point-in-time"), "masked": number(), "masked_before": number(1)},
    )(value, place)
    if "masked_before" in value and value.get("masked") != 0:
        raise wrong(f"{place}/masked_before", "only beside masked 0")


def reason(value, place):
    text()(value, place)
    if len(value) > 1024 or len(canonical(value)) - 2 > 6 * KIB:
        raise wrong(place, "more than 1,024 characters, or more than 6 KiB")


def bound_claims(value, place):
    named(text(), text())(value, place)
    if not value:
        raise wrong(place, "left out when it is empty")


def grantee(value, place):
    """A proposer with one of its keys, or a token with its credential."""
    obj({}, {"name": NAME, "key": KEYID, "token": NAME, "credential": DIGEST})(value, place)
    if set(value) not in ({"name", "key"}, {"token", "credential"}):
        raise wrong(place, "neither name and key, nor token and credential")


def profile(value, place):
    PROFILE(value, place)
    if "programs" in value["require"] and "programs" not in value:
        raise wrong(f"{place}/require/{value['require'].index('programs')}", "a layer without its list")


KNOWN_LAYERS = ("capabilities", "filesystem", "landlock", "namespaces", "network", "seccomp")
LAYER = one_of(*KNOWN_LAYERS)
LAYERS = arr(one_of(*KNOWN_LAYERS, programs.LAYER), ordered=True)
PROFILE_LIMITS = ("wall_ms", "cpu_milli", "memory_bytes", "processes", "file_bytes", "disk_bytes", "output_bytes")
CODES = (
    "malformed too-large unknown-step step-changed invalid-params params-mismatch wrong-boundary unknown-signer bad-signature "
    "not-permitted-signer self-approval quorum-missing not-yet-valid expired revoked denied nonce-replayed policy-denied "
    "context-changed session-stale grant-exhausted not-granted grant-paused not-grantable sandbox-unavailable busy standby database unauthenticated forbidden not-found wrong-state "
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
PERMISSIONS = arr(PERMISSION, high=64, ordered=True)
WORDS_OF_HOSTS = ("private", "localhost")
OF_NETWORK = obj(
    {"mode": MODES, "hosts": TEXTS}, {word: TEXTS for word in WORDS_OF_HOSTS}
)


def network_of_run(value, place):
    """The words `private` and `localhost` are said of hosts of the list."""
    OF_NETWORK(value, place)
    for word in WORDS_OF_HOSTS:
        for at, host in enumerate(value.get(word, [])):
            if host not in value["hosts"]:
                raise wrong(f"{place}/{word}/{at}", "not a host of the list")


REFUSED_HOST = obj(
    {
        "at": number(),
        "why": one_of("private", "localhost", "never", "boundary", "unresolved", "unreachable", "limit"),
    }
)


def refused_hosts(value, place):
    """The first eight hosts without a connection, by their places in the list."""
    arr(REFUSED_HOST, low=1, high=8)(value, place)
    places = [host["at"] for host in value]
    if places != sorted(set(places)) or places[-1] >= 64:
        raise wrong(place, "the places do not ascend, or are beyond the list")


PROFILE = obj(
    {
        "require": LAYERS,
        "read": TEXTS,
        "write": TEXTS,
        "deny": TEXTS,
        "workdir": WORKDIRS,
        "network": network_of_run,
        "sockets": TEXTS,
        "proc": one_of("minimal", "full"),
        "run_as": text(),
        "limits": obj({name: number() for name in PROFILE_LIMITS}),
    },
    {"off_reason": text(), "programs": DIGEST},
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
        "refused_hosts": refused_hosts,
        "ns": WORDS,
        "seccomp": obj({"sha256": HEX}),
    },
)
KEYS = {"keys": arr(text())}
APPROVALS = obj({"required": number(), "from": arr(NAME)}, {"each": boolean})


def network(host):
    """`none`, `host`, or which hosts."""

    def check(value, place):
        if isinstance(value, dict):
            return obj({"allow": arr(host, low=1, high=64)})(value, place)
        return one_of("none", "host")(value, place)

    return check


LISTS = ("read", "write", "deny", "sockets")
# What a step declares of its sandbox, and a rule of policy allows.
OF_SANDBOX = {
    "limits": obj({}, {name: number() for name in PROFILE_LIMITS}),
    "proc": one_of("minimal", "full"),
    **{name: arr(text()) for name in LISTS},
    "workdir": WORKDIRS,
    "network": network(text()),
    "run_as": text(),
}
DECLARED = obj({}, {**OF_SANDBOX, "off_reason": text()})

# What a receipt says of a run.
RAN = {
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
}

MORE_OF_RUN = {"programs": programs.facts}

# An authorization in the log.
LOGGED = obj({"digest": DIGEST, "index": number(), "leaf": DIGEST})

KINDS = {
    "authorization": obj(
        {
            "boundary": BOUNDARY_OF,
            "proposal": PROPOSAL,
            "nonce": NONCE,
            "step": obj({"ref": path_ref, "digest": DIGEST}),
            "params": at_most(16 * KIB, free),
            "rendered": DIGEST,
            "permissions": PERMISSIONS,
            "sandbox": profile,
            "proposer": NAME,
            "reason": reason,
            "issued_at": time,
            "not_before": time,
            "expires_at": time,
        },
        parts.OF_AUTHORIZATION,
    ),
    "denial": obj({"boundary": BOUNDARY_OF, "reason": text()}),
    "roster": obj(
        {
            "name": text(),
            "version": number(1),
            "threshold": number(),
            "policy": DIGEST,
            "approvers": named(NAME, obj({**KEYS, "groups": arr(NAME)}, {"valid_after": time, "valid_before": time})),
            "groups": named(NAME, obj({}, {"presence": one_of("required", "verified")})),
            "proposers": named(NAME, obj({**KEYS, "owners": arr(NAME)})),
            "operators": named(NAME, obj(KEYS)),
            "boundaries": named(BOUNDARY, obj(KEYS)),
            "witnesses": named(text(), obj({"vkey": text(), "url": text()})),
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
            "spent": arr(
                obj({"authorization": LOGGED, "nonce": NONCE, "expires_at": time, "handed_in_by": NAME}, parts.OF_ITEM), low=1, high=16
            ),
        }
    ),
    "receipt": obj(
        {
            "consumption": obj({"index": number(), "leaf": DIGEST, "item": number()}),
            "authorization": LOGGED,
            "decision": at_most(
                2 * KIB,
                obj(
                    {
                        "approvers": arr(NAME, ordered=True),
                        "groups": arr(NAME, ordered=True),
                        "excluded": arr(NAME, ordered=True),
                        "handed_in_by": NAME,
                        "policy": DIGEST,
                    }
                ),
            ),
            **RAN,
            "seal": DIGEST,
            "boundary": obj({"name": BOUNDARY, "id": DIGEST, "keyid": KEYID, "version": text()}),
        },
        {**MORE_OF_RUN, **parts.OF_RECEIPT},
    ),
    "refusal": obj(
        {"at": time},
        {
            "boundary": obj({"name": BOUNDARY, "id": DIGEST}),
            "code": one_of(*CODES),
            "pointer": text(),
            "principal": text(),
            "counts": obj({}, {code: number(1) for code in CODES}),
        },
    ),
    "grant": obj(
        {
            "boundary": BOUNDARY_OF,
            "grant": GRANT_ID,
            "grantee": grantee,
            "steps": arr(
                obj({"ref": path_ref, "digest": DIGEST, "params": parts.parameter, "permissions": PERMISSIONS, "sandbox": profile}),
                low=1,
                high=32,
                by="ref",
            ),
            "max_uses": number(1, parts.MAX_USES),
            "session": one_of("none", "fresh"),
            "artifacts": parts.artifacts(0),
            "proposer": NAME,
            "reason": reason,
            "issued_at": time,
            "not_before": time,
            "expires_at": time,
        },
        {"rate": obj({"uses": number(1, parts.MAX_USES), "seconds": number(1, 3 * parts.MONTH)})},
    ),
    "revocation": obj({"boundary": BOUNDARY_OF, "reason": text()}),
    "review": obj(
        {"boundary": BOUNDARY_OF, "verdict": one_of("accepted", "rejected"), "reason": text()},
        {"observed": one_of("succeeded", "failed", "not_started", "partly")},
    ),
}
LIMITS = {
    "authorization": 25 * KIB,
    "denial": 8 * KIB,
    "roster": 256 * KIB,
    "seal": 40 * KIB,
    "consumption": 16 * KIB,
    "receipt": 9_728,
    "refusal": 8 * KIB,
    "grant": 36 * KIB,
    "revocation": 8 * KIB,
    "review": 8 * KIB,
}
REGISTRY_LEAF = obj({"digest": DIGEST, "ref": path_ref})
TOKEN = obj(
    {
        "name": NAME,
        "owners": arr(NAME),
        "scopes": arr(one_of("operate", "propose", "read"), ordered=True),
        "patterns": arr(text(), ordered=True),
        "credential": DIGEST,
    },
    {
        "expires_at": time,
        "oidc": obj(
            {"issuer": text(), "claims": named(text(), text())},
            {"bind": bound_claims, "jwks": DIGEST, "ca": DIGEST},
        ),
    },
)
STEP = obj(
    {
        "ref": path_ref,
        "title": text(),
        "interpreter": text(),
        "source": text(),
        "params": parts.parameter,
        "sandbox": DECLARED,
        "approvals": APPROVALS,
        **parts.OF_STEP,
    },
    {"exclusive": text(), "programs": programs.DECLARED, "check": parts.only_true, **parts.MORE_OF_STEP},
)


def parse_step(value):
    """The form of a definition."""
    STEP(value, "/step")
    if "programs" in value and "off_reason" in value["sandbox"]:
        raise wrong("/step/programs", "not where the sandbox is off")
    parts.check_step(value, "/step")


def plan_of_bundle(value, place):
    if isinstance(value, dict) and "plan" in value:
        raise wrong(f"{place}/plan", "a plan has none of its own")
    check_bundle(value, place, is_plan=True)


def roster_version(value, place):
    """A version in full, or its difference from the version before."""
    if isinstance(value, dict) and "patch" in value:
        obj({"patch": free, "signatures": arr(free)})(value, place)
        value = {"payload": "", "payloadType": "", "signatures": value["signatures"]}
    envelope(value, place)


def rosters_of_bundle(value, place):
    (arr(roster_version) if isinstance(value, list) else number())(value, place)


def check_bundle(value, place="", is_plan=False):
    """The form of a bundle."""
    BUNDLE(value, place)
    if isinstance(value["roster"], list) == is_plan:
        raise wrong(f"{place}/roster", "a bundle has versions of the roster, and its plan the number of one")
    for one, other, at in (("grant" in value, "grant" in value["proofs"], "/grant"), ("grant" in value["proofs"], "grant" in value, "/proofs/grant")):
        if one and not other:
            raise wrong(place + at, "a grant and its proof, only together")
    if "grant" in value:
        try:
            same = Proof(value["proofs"]["grant"]).note == Proof(value["proofs"]["receipt"]).note
        except Bad as error:
            raise wrong(f"{place}/proofs/grant", str(error)) from error
        if not same:
            raise wrong(f"{place}/proofs/grant", "another checkpoint than that of the other proofs")
    if len(canonical(value["step"])) > MAX_STEP:
        raise wrong(f"{place}/step", "more than 1 MiB")


MAX_STEP = 1 << 20
BUNDLE = obj(
    {
        "mediaType": one_of("application/vnd.countersign.bundle.v1+json"),
        "receipt": envelope,
        "authorization": envelope,
        "consumption": envelope,
        "seal": envelope,
        "step": free,
        "step_proof": obj({"index": number(), "size": number(), "hashes": arr(text())}),
        "policy": free,
        "builtins": free,
        "roster": rosters_of_bundle,
        "proofs": obj({"receipt": text(), "authorization": text(), "consumption": text(), "seal": text()}, {"grant": text()}),
    },
    {
        "grant": envelope_of("grant", 16),
        "manifest": parts.MANIFEST,
        "plan": plan_of_bundle,
        "programs": programs.OF_BUNDLE,
    },
)


def check_end(stating, place):
    """The first 8 bytes of a nonce are its end (section 2), which the document states too."""
    end = int.from_bytes(base64.urlsafe_b64decode(stating["nonce"])[:8], "big")
    if end != seconds(stating["expires_at"]):
        raise wrong(f"{place}/nonce", "the nonce does not end at expires_at")


def end_in(name):
    """The end that the first 48 bits of the id of a proposal or a session are, in milliseconds (section 2)."""
    return int(name[4:17].replace("-", ""), 16)


def check_session_end(stating, place):
    if "session" in stating and end_in(stating["session"]["id"]) // 1000 < seconds(stating["expires_at"]):
        raise wrong(f"{place}/session/id", "the session ends before expires_at")


def more_of_authorization(predicate, _):
    check_end(predicate, "/predicate")
    if end_in(predicate["proposal"]) != seconds(predicate["expires_at"]) * 1000:
        raise wrong("/predicate/proposal", "the first 48 bits of the id must be expires_at in milliseconds")
    check_session_end(predicate, "/predicate")
    if "emergency" in predicate and "grant" in predicate:
        raise wrong("/predicate/emergency", "not together with a grant")
    by = predicate.get("by")
    if by is None:
        return
    if "grant" not in predicate or by["token"] != predicate["proposer"]:
        raise wrong("/predicate/by/token", "only the proposer of the use of a grant")
    if not re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]+", by.get("jti", "-")) or len(by.get("jti", "").encode()) > 128:
        raise wrong("/predicate/by/jti", "no text of 1 to 128 bytes without control characters")


def more_of_seal(predicate, _):
    first = predicate["number"] == 0
    if first != ("genesis" in predicate) or first == ("previous" in predicate) or first == ("id" in predicate["boundary"]):
        raise wrong("/predicate", "number 0 has genesis and no previous or id; every other the contrary")


def more_of_receipt(predicate, _):
    for name, stream in predicate["output"].items():
        # Masking may change how long it is.
        if not stream["redactions"] and (
            stream["recorded"] > stream["bytes"] or stream["truncated"] != (stream["recorded"] < stream["bytes"])
        ):
            raise wrong(f"/predicate/output/{name}", "truncated says whether fewer bytes are recorded than were written")
    if seconds(predicate["started_at"]) > seconds(predicate["finished_at"]):
        raise wrong("/predicate/finished_at", "before it started")


def more_of_consumption(predicate, _):
    before = set()
    for at, item in enumerate(predicate["spent"]):
        place, digest, nonce = f"/predicate/spent/{at}", item["authorization"]["digest"], item["nonce"]
        if digest in before:
            raise wrong(f"{place}/authorization", "spent twice in one consumption")
        check_end(item, place)
        check_session_end(item, place)
        if nonce in before:
            raise wrong(f"{place}/nonce", "spent twice in one consumption")
        before |= {digest, nonce}
        if ("grant" in item) != ("use" in item):
            raise wrong(f"{place}/{'grant' if 'grant' in item else 'use'}", "grant and use, only together")


def more_of_refusal(predicate, _):
    if ("code" in predicate) == ("counts" in predicate) or ("code" in predicate) != ("principal" in predicate):
        raise wrong("/predicate", "a refusal is of one input by somebody, or counts")
    if "counts" in predicate and ("pointer" in predicate or not predicate["counts"]):
        raise wrong("/predicate", "a summary counts, and nothing else")


def more_of_grant(predicate, _):
    for at, step in enumerate(predicate["steps"]):
        if step["params"]["type"] != "object":
            raise wrong(f"/predicate/steps/{at}/params", "a declaration of type object")
    if "rate" in predicate and predicate["rate"]["uses"] > predicate["max_uses"]:
        raise wrong("/predicate/rate/uses", "more than there are")
    issued, begin, end = (seconds(predicate[name]) for name in ("issued_at", "not_before", "expires_at"))
    if issued > begin:
        raise wrong("/predicate/not_before", "before it was issued")
    if begin >= end or end - issued > 3 * parts.MONTH:
        raise wrong("/predicate/expires_at", "not after it begins, or more than 90 days after it was issued")


MORE = {
    "authorization": more_of_authorization,
    "seal": more_of_seal,
    "consumption": more_of_consumption,
    "receipt": more_of_receipt,
    "refusal": more_of_refusal,
    "grant": more_of_grant,
}


# Subjects.


SUBJECT_LIST = arr(obj({"digest": obj({"sha256": HEX}), "name": text()}))


def subject(name, digest):
    return {"name": name, "digest": {"sha256": digest.split(":")[1]}}


def subjects_of_receipt(predicate):
    output = predicate["output"]
    streams = [subject(name, output[name]["sha256"]) for name in ("stdout", "stderr")]
    return [subject("authorization", predicate["authorization"]["digest"]), *streams, subject("files", predicate["files"]["manifest"])]


def subjects_of_authorization(predicate):
    own = [subject(predicate["step"]["ref"], predicate["step"]["digest"]), subject("params", reference(canonical(predicate["params"])))]
    return own + [subject(f"artifact/{one['name']}", one["digest"]) for one in predicate.get("artifacts", [])]


def check_twins(expected, subjects):
    if len(subjects) != len(expected):
        raise wrong("/subject", f"{len(subjects)} subjects, not {len(expected)}")
    for at in range(len(expected)):
        for field in ("name", "digest"):
            if subjects[at][field] != expected[at][field]:
                raise wrong(f"/subject/{at}/{field}", "not the twin of what the predicate says")


def twins(expected):
    return lambda predicate, subjects: check_twins(expected(predicate), subjects)


def alone(name):
    """What a denial, a refusal or a review is about stands in its subject and nowhere else."""

    def check(_, subjects):
        if [one["name"] for one in subjects] != [name]:
            raise wrong("/subject", f"one subject, {name}")

    return check


def input_subject(predicate, subjects):
    alone("input")(predicate, subjects)
    if "counts" in predicate:
        check_twins([subject("input", reference(canonical(predicate["counts"])))], subjects)


def revoked(predicate, subjects):
    if len(subjects) != 1:
        raise wrong("/subject", "one subject, what is revoked")
    one_of("grant", "key", "token", "epoch")(subjects[0]["name"], "/subject/0/name")
    if subjects[0]["name"] == "epoch":
        check_twins([subject("epoch", reference(predicate["boundary"]["epoch"].encode()))], subjects)


SUBJECTS = {
    "authorization": twins(subjects_of_authorization),
    "denial": alone("authorization"),
    "refusal": input_subject,
    "roster": twins(lambda p: [subject("roster", reference(canonical(p)))]),
    "seal": twins(lambda p: [subject("registry", p["registry_root"])]),
    "consumption": twins(lambda p: [subject("authorization", item["authorization"]["digest"]) for item in p["spent"]]),
    "receipt": twins(subjects_of_receipt),
    "grant": twins(lambda p: [subject(step["ref"], step["digest"]) for step in p["steps"]]),
    "revocation": revoked,
    "review": alone("receipt"),
}
