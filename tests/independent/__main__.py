"""`python3 tests/independent verify|audit|batch|vectors …`: see README.md."""

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# Nothing is written beside the sources.
sys.dont_write_bytecode = True

import argparse
import base64

import bundle
import vectors
from history import History
from log import Export, Memory
from roster import merge, patch_between, read_trust
from wire import Bad, Envelope, strict


def main():
    parser = argparse.ArgumentParser(prog="python3 tests/independent", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("verify", help="bundles, offline: a line of JSON for each")
    one.add_argument("bundle", nargs="+")
    one.add_argument("--roster", required=True, help="a file, or sha256:… of its payload")
    batch = commands.add_parser("batch", help="reads lines {id, bundle or entries and blobs, roster} or {id, before, next, patch}, answers each in one")
    batch.add_argument("file", nargs="?", default="-")
    whole = commands.add_parser("audit", help="an exported log, from its first entry: one object of JSON")
    whole.add_argument("folder")
    whole.add_argument("--roster", required=True, help="a file, or sha256:… of its payload")
    whole.add_argument("--earlier", action="append", default=[], help="a checkpoint that was kept; may stand more than once")
    own = commands.add_parser("vectors", help="answers the vectors of tests/conformance, and checks openssl's opinion")
    own.add_argument("folder")
    asked = parser.parse_args()
    return {"verify": verify, "batch": run_batch, "audit": audit, "vectors": run_vectors}[asked.command](asked)


def verify(asked):
    trusted, known = trust_of(asked.roster)
    highest = 0
    for path in asked.bundle:
        with open(path, "rb") as file:
            report = bundle.verify(file.read(), trusted, known).value()
        print(json.dumps({"file": path, "report": report}))
        highest = max(highest, 0 if report["verified"] else 2 if report["undecided"] else 1)
    return highest


def run_batch(asked):
    """One process for many: `roster` is sha256:… or the base64 of a roster's file."""
    lines = sys.stdin if asked.file == "-" else open(asked.file, encoding="utf-8")
    for line in lines:
        case = json.loads(line)
        if "patch" in case:
            made, merged = patch_between(case["before"], case["next"]), merge(case["before"], case["patch"])
            print(json.dumps({"id": case["id"], "patch": made, "merged": merged}))
            continue
        try:
            roster = case["roster"]
            trusted, known = read_trust(roster if roster.startswith("sha256:") else "", _bytes(roster))
            if "entries" in case:
                print(json.dumps({"id": case["id"], **_history(case, trusted, known)}))
                continue
            report = bundle.verify(base64.b64decode(case["bundle"]), trusted, known).value()
            found = {check["name"]: check["finding"] for check in report["checks"]}
            answer = {"verified": report["verified"], "checks": found}
            for word, finding in (("why", "failed"), ("open", "not-checked")):
                answer[word] = {check["name"]: check["detail"] for check in report["checks"] if check["finding"] == finding}
        except Bad as error:
            answer = {"no_trust": str(error)}
        print(json.dumps({"id": case["id"], **answer}), flush=False)
    return 0


def audit(asked):
    trusted, known = trust_of(asked.roster)
    earlier = []
    for path in asked.earlier + kept_heads(asked.folder):
        with open(path, encoding="utf-8", errors="replace") as file:
            earlier.append((path, file.read()))
    printed = Printed()
    found = History(Export(asked.folder), trusted, known, envelopes_in(asked.roster), earlier, printed).value()
    printed.end(found)
    return 0 if found["sound"] else 1


class Printed:
    """Prints each decision when it is made, because a list of all of them would grow with the log."""

    def __init__(self):
        self.before = '{"decisions": ['

    def append(self, decision):
        print(self.before, json.dumps(decision), sep="", end="")
        self.before = ", "

    def end(self, value):
        del value["decisions"]
        print("" if self.before == ", " else self.before, "], ", json.dumps(value)[1:], sep="")


def kept_heads(folder):
    """Every signed head that the copy took: a file each, named by its size."""
    kept = os.path.join(folder, "checkpoints")
    names = sorted(os.listdir(kept)) if os.path.isdir(kept) else []
    return [os.path.join(kept, name) for name in names if not name.startswith(".new-")]


def envelopes_in(argument):
    """The signed versions in a roster's file, where it is an array of them or one."""
    if argument.startswith("sha256:"):
        return []
    with open(argument, "rb") as file:
        value = strict(file.read(), 4 << 20)
    return [Envelope(one) for one in (value if isinstance(value, list) else [value]) if "payload" in one]


def run_vectors(asked):
    passed, failed = vectors.run(asked.folder, print)
    failed += vectors.cross_check(asked.folder, print)
    print(f"{passed} vectors answered alike, {failed} otherwise")
    return 1 if failed else 0


def _history(case, trusted, known):
    entries = [base64.b64decode(entry) for entry in case["entries"]]
    blobs = {name: base64.b64decode(blob) for name, blob in case["blobs"].items()}
    versions = [Envelope(one) for one in case.get("rosters", [])]
    return History(Memory(case["checkpoint"].encode(), entries, blobs), trusted, known, versions).value()


def _bytes(roster):
    return b"" if roster.startswith("sha256:") else base64.b64decode(roster)


def trust_of(argument):
    if argument.startswith("sha256:"):
        return read_trust(argument)
    with open(argument, "rb") as file:
        return read_trust(argument, file.read())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Bad, OSError) as error:
        print(f"nothing is verified: {error}", file=sys.stderr)
        sys.exit(2)
