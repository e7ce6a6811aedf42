"""The vectors of `tests/conformance`, answered by this implementation. One line for each that it answers otherwise."""

import base64
import hashlib
import json
import os

import bundle
import documents
import keys
import log
import programs
import rules
import templates
from globs import matches
from roster import Chain, Roster, read_trust, wanted_presence
from wire import Bad, Envelope, Open, canonical, reference, seconds, strict


def run(folder, say):
    """Answers every file that is known here; gives how many vectors passed and failed."""
    passed = failed = 0
    for name, reader in READERS.items():
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            data = json.load(file)
        done = 0
        for place, right in reader(data, folder):
            if right is True:
                passed += 1
                done += 1
            else:
                failed += 1
                say(f"FAILED {name} {place}: {right}")
        say(f"{name}: {done}")
    return passed, failed


def answer(work):
    """`accept`, or the reason of the refusal."""
    try:
        work()
        return "accept", None
    except Bad as error:
        return "refuse", error


def each(judge):
    def reader(data, folder):
        for vector in data["vectors"]:
            got = judge(vector, folder)
            yield vector["id"], True if got == vector["expect"] else f"got {got}, expected {vector['expect']}"

    return reader


def canonical_json(data, _):
    for vector in data["vectors"]:
        try:
            made = canonical(strict(base64.b64decode(vector["input_b64"]), 4 << 20))
            right = vector["expect"] == "accept" and made.decode() == vector["canonical"]
            right = right and hashlib.sha256(made).hexdigest() == vector["sha256"]
            yield vector["id"], right or f"got {made!r:.80}"
        except Bad as error:
            yield vector["id"], (vector["expect"], vector.get("reason")) == ("reject", error.reason) or str(error)


def identifier(vector, _):
    def hexes(length):
        return documents.rx("[0-9a-f]{%d}" % length)

    shapes = {
        "name": documents.NAME,
        "group": documents.NAME,
        "boundary": documents.BOUNDARY,
        "ref": documents.path_ref,
        "proposal": documents.PROPOSAL,
        "receipt": lambda text, place: documents.PROPOSAL(text.replace("rcp_", "prp_") if text.startswith("rcp_") else "", place),
        "nonce": documents.NONCE,
        "time": documents.time,
        "epoch": documents.EPOCH,
        "genesis": hexes(64),
        "keyid": documents.KEYID,
        "digest": documents.DIGEST,
    }
    return answer(lambda: shapes[vector["type"]](vector["text"], ""))[0]


def window(vector, _):
    return rules.check_window(vector, seconds(vector["at"]), vector.get("policy_max_s")) or "within"


def touch(signed):
    return 2 if signed.get("touched") and signed.get("verified") else int(signed.get("touched") or 0)


def quorum(vector, _):
    people = {}
    groups = [{"name": name, **rule} for name, rule in vector["groups"].items()]
    wants = lambda group: wanted_presence(groups, group)
    roster = type("Groups", (), {"wants_presence": staticmethod(wants)})
    try:
        combined = rules.Rules(vector["policy"], vector["step"])
    except Bad:
        return "no-rule"
    for signed in vector["signed"]:
        person = {"name": signed["name"], **vector["people"][signed["name"]]}
        if person["name"] in vector["excluded"]:
            continue
        try:
            counted = rules.counts_for(person, touch(signed), combined, roster, seconds(vector["at"]))
        except Bad:
            continue
        people[person["name"]] = people.get(person["name"], set()) | counted
    if "counted" in vector and sorted(people) != vector["counted"]:
        return f"counted {sorted(people)}"
    return "missing" if combined.missing(people) else "met"


def roster(vector, _):
    if "versions" in vector:
        work = lambda: Chain([Envelope(one) for one in vector["versions"]], vector["trusted"])
        return answer(work)[0]
    predicate = vector["predicate"]
    payload = {
        "_type": documents.STATEMENT,
        "predicate": predicate,
        "predicateType": "https://countersign.dev/roster/v1",
        "subject": [documents.subject("roster", reference(canonical(predicate)))],
    }
    return answer(lambda: Roster(canonical(payload)))[0]


def parameters(vector, _):
    try:
        schema = rules.Schema(vector["schema"])
    except Bad:
        return "schema-refused"
    if "value" not in vector:
        return "not-checked" if schema.open else "accept"
    try:
        value = vector["value"] if vector["as"] == "signed" else schema.complete(vector["value"])
        schema.check(value)
    except Bad:
        return "refuse"
    except Open:
        return vector["expect"] if vector.get("portable") is False else "not-checked"
    return "accept" if canonical(value).decode() == vector["canonical"] else "another canonical form"


def template(vector, _):
    try:
        read = templates.of_step({"source": vector["source"], "interpreter": vector["interpreter"], "params": vector["schema"]})
    except Bad:
        return "malformed"
    try:
        return "rendered" if read.render(vector["params"]) == vector.get("script") else "another script"
    except Bad:
        return "not-rendered"


def globs(data, _):
    for table, dot in ((data, False), (data["dot"], True)):
        for pattern, expected in table["patterns"].items():
            found = [path for path in table["paths"] if matches(pattern, path, dot)]
            wrong = sorted(set(found) ^ set(expected))
            yield pattern, not wrong or f"differs at {wrong}"


def envelopes(data, folder):
    """Only the strict reading: the lenient one is HTTP's."""
    for vector in data["vectors"]:
        if vector["reading"] != "strict":
            continue
        text = vector["text"].encode() if "text" in vector else json.dumps(vector["envelope"]).encode()

        def work(text=text):
            envelope = Envelope(strict(text, 4 << 20))
            documents.read("denial", envelope.payload)

        word, error = answer(work)
        if error is not None:
            word = "too-large" if error.reason == "too-large" else "malformed"
        yield vector["id"], word == vector["expect"] or f"got {word}: {error}"


def of_golden(name):
    return lambda data, folder: golden_documents(name, data, folder)


def golden_documents(name, data, folder):
    """Documents of one golden folder: whole, or refused at the place where they are broken."""
    read = {
        "roster": Roster,
        "program-list": lambda text: programs.LIST(strict(text, programs.MOST_BYTES), ""),
        "step": lambda text: rules.read_step(strict(text, documents.MAX_STEP)),
        "bundle": lambda text: documents.check_bundle(strict(text, bundle.MAX_BUNDLE)),
        "authorization-envelope": lambda text: bundle.read_authorization(Envelope(strict(text, bundle.MAX_BUNDLE))),
    }
    for vector in data:
        with open(os.path.join(folder, "golden", name, vector["file"]), "rb") as file:
            text = file.read()
        work = read.get(vector["as"]) or (lambda text, kind=vector["as"]: documents.read(kind, text))
        word, error = answer(lambda: work(text))
        got = (word, "") if error is None else (error.reason, error.at)
        right = got == (vector["expect"], vector["at"])
        yield vector["file"], right or f"got {got}: {error}"
        if vector["as"] in CHECKS and vector["expect"] != "accept":
            yield f"{vector['file']} in a bundle", failed_in_a_bundle(vector, text, folder)


# The check of `verify` that a part belongs to.
CHECKS = {
    "bundle": "bundle",
    "consumption": "consumption-document",
    "receipt": "receipt-document",
    "roster": "roster-chain",
    "step": "step",
}


def failed_in_a_bundle(vector, text, folder):
    """Whether the check of the document fails."""
    with open(os.path.join(folder, "golden", "valid", "bundle.json"), "rb") as file:
        value = json.load(file)
    kind, trusted = vector["as"], Envelope(value["roster"][0]).digest
    if kind == "bundle":
        value = json.loads(text)
    elif kind == "step":
        value["step"] = json.loads(text)
    else:
        place, at = (value["roster"], 0) if kind == "roster" else (value, kind)
        place[at] = {**place[at], "payload": base64.b64encode(text).decode()}
        trusted = reference(text) if kind == "roster" else trusted
    found = {check["name"]: check for check in bundle.verify(canonical(value), trusted).value()["checks"]}[CHECKS[kind]]
    return found["finding"] == "failed" or f"{found}"


def merkle(data, _):
    def unhex(items):
        return [bytes.fromhex(item) for item in items]

    for at, vector in enumerate(data["golden_misc"]):
        got = base64.b64encode(log.leaf_hash(vector["leaf_utf8"].encode())).decode()
        yield f"golden_misc/{at}", got == vector["leaf_hash_b64"] or got
    leaves = [log.leaf_hash(item) for item in unhex(data["ct8"]["leaves_hex"])]
    for at, stated in enumerate([data["ct8"]["empty_root"]] + data["ct8"]["roots_by_size"]):
        yield f"ct8/{at} leaves", log.root_of(leaves[:at]).hex() == stated or "another root"
    for size, stated in data["leafN"]["roots"].items():
        made = log.root_of(log.leaf_hash(f"leaf {at}".encode()) for at in range(int(size)))
        yield f"leafN/{size} leaves", made.hex() == stated or "another root"
    for vector in data["ct8"]["inclusion"] + data["leafN"]["inclusion"]:
        yield "inclusion", answer(lambda: _inclusion(vector))[0] == "accept" or str(vector)[:120]
    for vector in data["inclusion_must_fail"]:
        yield vector["why"], answer(lambda: _inclusion(vector))[0] == "refuse" or "verified"
    for vector in data["ct8"]["consistency"] + data["leafN"]["consistency"]:
        roots = unhex([vector["root1"], vector["root2"]])
        work = lambda: log.check_consistency(vector["size1"], roots[0], vector["size2"], roots[1], unhex(vector["path"]))
        yield "consistency", answer(work)[0] == "accept" or str(vector)[:120]


def _inclusion(vector):
    leaf, root = bytes.fromhex(vector["leaf_hash"]), bytes.fromhex(vector["root"])
    log.check_inclusion(leaf, vector["index"], vector["size"], [bytes.fromhex(one) for one in vector["path"]], root)


def bundles(data, folder):
    """Changes of the golden bundle: refused at exactly these checks, or verified with exactly these left open."""
    with open(os.path.join(folder, "golden", "valid", "bundle.json"), "rb") as file:
        base = file.read()
    for vector in data["vectors"]:
        value = json.loads(base)
        for change in vector["patch"]:
            parts = change["path"].split("/")[1:]
            place = value
            for part in parts[:-1]:
                place = place[part]
            place[parts[-1]] = change["value"]
        roster = vector["roster"]
        trusted, known = read_trust(roster) if isinstance(roster, str) else read_trust("", canonical(roster))
        report = bundle.verify(canonical(value), trusted, known).value()
        word, field = ("not-checked", "not_checked") if report["verified"] else ("failed", "failed")
        expected = sorted(vector.get(field, []))
        names = sorted(check["name"] for check in report["checks"] if check["finding"] == word)
        if word == "not-checked":
            # A lone bundle always leaves this check open.
            names.remove("revocations")
        if word == "not-checked" and "permissions" not in expected and "permissions" in names:
            # Scripts are not read here.
            names.remove("permissions")
        got = "verified" if report["verified"] else "refused"
        yield vector["id"], (got, names) == (vector["expect"], expected) or f"{got}: {names}"


def cosignature(vector, _):
    try:
        first = log.Note(vector["note"]).cosigned_by(log.read_vkey(vector["vkey"]))
    except Bad:
        return "refuse"
    if first is None:
        return "none"
    return "accept" if str(first) == vector["time"] else f"cosigned at {first}"


READERS = {
    "bundles.json": bundles,
    "canonical-json.json": canonical_json,
    "cosignature.json": each(cosignature),
    "envelope.json": envelopes,
    "globs.json": globs,
    "identifiers.json": each(identifier),
    "golden/documents/index.json": of_golden("documents"),
    "golden/programs/index.json": of_golden("programs"),
    "merkle.json": merkle,
    "parameter-values.json": each(parameters),
    "parameters.json": each(parameters),
    "quorum.json": each(quorum),
    "roster.json": each(roster),
    "templates.json": each(template),
    "window.json": each(window),
}


def cross_check(folder, say):
    """Every signature of the golden documents by our own Ed25519 and by openssl; and what only the strict one refuses."""
    import ed25519

    valid = os.path.join(folder, "golden", "valid")
    public = {}
    for name in ("alice", "bob", "boundary"):
        with open(os.path.join(valid, "keys", f"{name}.pub"), encoding="utf-8") as file:
            public[name] = keys.Key(file.read().strip()).public
    signed = [("authorization-0", "bob"), ("authorization-1", "alice"), ("denial-0", "alice")]
    signed += [(f"{kind}-0", "boundary") for kind in ("consumption", "receipt", "refusal", "seal")]
    wrong = 0
    for name, signer in signed:
        with open(os.path.join(valid, "pae", name.rsplit("-", 1)[0] + ".bin"), "rb") as file:
            message = file.read()
        with open(os.path.join(valid, "sig", name + ".bin"), "rb") as file:
            signature = file.read()
        for data, holds in ((message, True), (message + b"x", False)):
            said = (ed25519.verify(public[signer], data, signature), ed25519.openssl_says(public[signer], data, signature))
            if said != (holds, holds):
                wrong += 1
                say(f"FAILED {name}: this code and openssl say {said}")
    # Under the neutral element as a key, R = [S]B is a signature over anything.
    scalar = 5
    forged = ed25519.encode(ed25519.multiply(ed25519.BASE, scalar)) + scalar.to_bytes(32, "little")
    neutral = (1).to_bytes(32, "little")
    if ed25519.verify(neutral, b"anything", forged):
        wrong += 1
        say("FAILED a key of small order was taken")
    say(f"openssl takes the forgery under the key of order one: {ed25519.openssl_says(neutral, b'anything', forged)}")
    say(f"cross-check with openssl: {len(signed) * 2} signatures")
    return wrong
