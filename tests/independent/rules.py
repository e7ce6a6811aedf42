"""The rules that decide: policy and step, quorum, window, exclusion, parameters. From `formats.md`, `runbooks.md`, `boundary.md`."""

import itertools
import re

import parts
import patterns
import programs
import templates
from globs import check as check_glob, matches
from documents import NAME, OF_SANDBOX, PROFILE_LIMITS, arr, boolean, network, number, obj, one_of, parse_step, text, time
from passkeys import by_passkey
from shapes import wrong
from wire import Bad, Open, canonical, match, seconds

DAY = 24 * 3600
SKEW = 60
MAX_GROUPS = 8
MAX_SIGNATURES = 16


def host(value, place):
    """A host that a rule allows, as a text, or with words about its addresses."""
    if isinstance(value, dict):
        return obj({"host": text()}, {"private": boolean, "localhost": boolean})(value, place)
    return text()(value, place)


LISTS = obj({}, {"allow": arr(text()), "deny": arr(text())})
# People by number and groups, without `each`.
PEOPLE = obj({"from": arr(NAME, low=1)}, {"required": number(1, MAX_SIGNATURES)})
APPROVALS = obj({"from": arr(NAME, low=1)}, {"required": number(1), "each": boolean})
RULE = {
    "mode": one_of("prompted", "execute", "deny"),
    **{kind: LISTS for kind in ("run", "read", "write", "env")},
    "approvals": APPROVALS,
    "standing": obj(
        {"max_uses": number(1, parts.MAX_USES), "max_days": number(1, 90)}, {"session": one_of("none", "fresh")}
    ),
    "emergency": obj(
        {"from": arr(NAME, low=1), "max_unreviewed": number(1, 100), "max_window_s": number(1, DAY), "review": PEOPLE},
        {"required": number(1, MAX_SIGNATURES)},
    ),
}
EVERYWHERE = {"programs": programs.RULE, **{name: OF_SANDBOX[name] for name in ("limits", "proc", "deny")}}
SANDBOX = {"programs": programs.RULE, **OF_SANDBOX, "network": network(host), "may_be_off": boolean}
MOST = 1024
MOST_PATTERNS = 4096


def granted_at(value, place):
    text()(value, place)
    found = re.fullmatch(r"(.{19})(?:\.[0-9]{1,9})?Z", value)
    if not found:
        raise Bad(f"{place}: no time")
    time(found.group(1) + "Z", place)


GRANT = obj(
    {"type": one_of("run", "read", "write", "env"), "pattern": text(), "scope": one_of("permanent")},
    {"runbook": text(), "grantedAt": granted_at},
)
# What only the top of a policy has.
OF_ALL = {
    "settle": PEOPLE,
    "freeze": obj({"runs": one_of("finish")}),
    "passkeys": obj({"most": number(1, MAX_SIGNATURES), "alone": boolean, "synced": boolean}),
}
POLICY = obj(
    {"version": number(1, 1)},
    {
        "extends": one_of("none"),
        "default": obj({}, {**RULE, "sandbox": obj({}, EVERYWHERE)}),
        "overrides": arr(obj({"runbook": text()}, {**RULE, "sandbox": obj({}, SANDBOX)})),
        "grants": arr(GRANT),
        **OF_ALL,
    },
)


def read_step(step):
    """The form of a definition."""
    parse_step(step)
    try:
        schema = Schema(step["params"])
    except Bad as error:
        # What is broken wins; its place stands before the colon.
        raise wrong("/step/params" + str(error).partition(": ")[0], str(error)) from error
    schema.check_open()
    try:
        schema = output_schema(step)
    except Bad as error:
        raise wrong("/step/outputs", str(error)) from error
    schema.check_open()
    if step["template"] != "none":
        templates.of_step(step)


def output_schema(step):
    """Of the object that holds what a run gives on; each may be missing."""
    properties = {one["name"]: one["schema"] for one in step["outputs"]}
    return Schema({"type": "object", "properties": properties})


def check_builtins(value):
    """The form of built-in lists; what their patterns match is left to who reads scripts."""
    kinds = ("run", "read", "write", "env")
    if not isinstance(value, dict) or value.get("version") != 1 or isinstance(value["version"], bool):
        raise Bad("no built-in lists of version 1")
    if not set(value) <= {"version", "closures", *kinds}:
        raise Bad("the built-in lists have an unknown word")
    if "closures" in value:
        programs.check_closures(value["closures"])
    for kind in set(value) & set(kinds):
        lists = value[kind]
        if not isinstance(lists, dict) or not set(lists) <= {"allow", "deny"}:
            raise Bad(f"the built-in list {kind} is malformed")
        for patterns in lists.values():
            if not isinstance(patterns, list) or not all(isinstance(text, str) for text in patterns):
                raise Bad(f"the built-in list {kind} is malformed")
    check_lists(value)


def check_policy(value):
    """What the types of a policy do not say: its patterns, its limits, its sandboxes."""
    overrides, grants = value.get("overrides", []), value.get("grants", [])
    if len(overrides) > MOST or len(grants) > MOST:
        raise Bad(f"more than {MOST} overrides or grants")
    ways = 0
    for rule in [value.get("default", {})] + overrides:
        ways += check_lists(rule)
        check_sandbox_rule(rule.get("sandbox", {}))
        emergency = rule.get("emergency", {})
        people = [rule.get("approvals"), emergency_people(emergency), emergency.get("review")]
        for approvals in people + [value.get("settle")]:
            if approvals is None:
                continue
            [(needed, groups, each)] = Rules(approvals, None).parts
            if needed * (len(groups) if each else 1) > MAX_SIGNATURES:
                raise Bad(f"the policy asks for more than {MAX_SIGNATURES} signatures")
    for one in overrides:
        if set(one) == {"runbook"}:
            raise Bad("an override that says nothing")
        ways += check_glob(one["runbook"])
    for grant in grants:
        ways += check_listed(grant["type"], "allow", grant["pattern"])
        ways += check_glob(grant["runbook"]) if "runbook" in grant else 0
    if ways > MOST_PATTERNS:
        raise Bad(f"more than {MOST_PATTERNS} patterns")


def emergency_people(emergency):
    """Its rule for the signatures, as a rule of approvals."""
    return {key: emergency[key] for key in ("required", "from") if key in emergency} or None


def check_lists(rule):
    """How many patterns the lists of a rule are."""
    ways = 0
    for kind in ("run", "read", "write", "env"):
        for side, patterns in rule.get(kind, {}).items():
            if len(patterns) > MOST:
                raise Bad(f"more than {MOST} patterns in a list")
            ways += sum(check_listed(kind, side, one) for one in patterns)
    return ways


def check_listed(kind, side, pattern):
    """One pattern of a list: over paths from the root, over paths anywhere, or over names."""
    if kind in ("read", "write"):
        return check_path_pattern(pattern)
    if "/" not in pattern:
        return 1 if pattern in ("[", ".") else check_glob(pattern)
    if kind == "env":
        raise Bad("no variable has a slash in its name")
    if side == "allow":
        return check_path_pattern(pattern)
    if pattern.startswith(("{repo}/", "{tmp}/")):
        raise Bad("a place that a boundary does not have")
    if pattern.startswith(("/", "{repo}", "{tmp}", "**/", "~")):
        return check_path_pattern(pattern)
    return check_glob("**/" + pattern.removeprefix("./"))


def check_path_pattern(pattern):
    for place in ("{repo}", "{tmp}"):
        if pattern.startswith(place):
            rest = pattern[len(place) :]
            if rest and (rest[0] != "/" or rest == "/"):
                raise Bad("after a place comes a slash and a path")
            return check_glob(rest[1:]) if rest else 1
        if place in pattern:
            raise Bad("a place stands at the beginning only")
    if pattern == "/":
        return 1
    if pattern.startswith("/"):
        return check_glob(pattern[1:])
    if pattern == "**" or pattern.startswith("**/"):
        return check_glob(pattern)
    raise Bad(f"the pattern {pattern[:80]!r} is relative")


OWN = ("/proc", "/dev", "/sys", "/run/step", "/tmp/work")


def at_or_below(path, directory):
    return path == directory or path.startswith(directory + "/")


def check_path(path):
    """A directory or file of the host that a step may be given."""
    if len(path.encode()) > 1024 or re.search(r"[\x00-\x1f\x7f-\x9f*?\[{]", path) or not re.fullmatch(r"(/[^/]+)+", path, re.S):
        raise Bad(f"{path[:80]!r} is no plain path")
    if {".", ".."} & set(path.split("/")) or path in ("/tmp", "/etc") or at_or_below(path, "/var/tmp"):
        raise Bad(f"{path[:80]!r} is no plain path, or made for each run")
    if any(at_or_below(path, own) or at_or_below(own, path) for own in OWN):
        raise Bad(f"{path[:80]!r} is a run's own, or covers it")


def check_deny(pattern):
    """A pattern of what is hidden from a run."""
    plain = pattern.strip("*?/.") != ""
    if len(pattern.encode()) > 256 or re.search(r"[\x00-\x1f\x7f-\x9f]", pattern) or pattern.count("*") > 16:
        raise Bad(f"the deny pattern {pattern[:80]!r} is too long")
    if not plain or not pattern.startswith(("/", "**/")):
        raise Bad(f"the deny pattern {pattern[:80]!r} is relative, or matches everything")
    bare = pattern.lstrip("/")
    check_glob(bare)
    depths = [all(matches(bare, at + name) for name in ("kz0q", "a.b", "NOTES", "0")) for at in ("", "a/", "srv/q7/", "home/x/src/y/")]
    if all(depths) if pattern.startswith("/") else any(depths):
        raise Bad(f"the deny pattern {pattern[:80]!r} matches everything")


def check_address(address):
    name, _, port = address.rpartition(":")
    labels = name.split(".")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > 65535 or len(name) > 253:
        raise Bad(f"{address[:80]!r} is no name:port")
    if not all(re.fullmatch(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", label) for label in labels):
        raise Bad(f"{address[:80]!r} is no name:port")
    if re.fullmatch(r"[0-9]+|0x.*", labels[-1]):
        raise Bad(f"{address[:80]!r} ends in a number")


def check_user(user):
    if user in ("root", "isolated") or not re.fullmatch(r"[a-z_][a-z0-9_.-]{0,31}", user):
        raise Bad(f"{user[:80]!r} is no user of a step")


def check_sandbox_rule(sandbox):
    if 0 in sandbox.get("limits", {}).values():
        raise Bad("zero is no limit")
    network = sandbox.get("network")
    lists = {name: sandbox[name] for name in ("read", "write", "sockets", "deny") if name in sandbox}
    if isinstance(network, dict):
        lists["network"] = network["allow"]
    for name, items in lists.items():
        if not items or len(set(items)) != len(items):
            raise Bad(f"{name} is empty, or names one twice")
        for item in items:
            {"deny": check_deny, "network": check_address}.get(name, check_path)(item)
    if "run_as" in sandbox:
        check_user(sandbox["run_as"])


class Policy:
    """One policy over the path of a ref: `mode`, `approvals` (or None), `sandbox`: what holds of it, the later rule first.

    `open` are words of rules that are not evaluated here.
    """

    def __init__(self, value, ref, builtins=None):
        POLICY(value, "")
        check_policy(value)
        overrides = value.get("overrides", [])
        self.open = set(value) - {"version", "default", "overrides", *OF_ALL}
        self.mode, self.approvals, self.standing, self.emergency, self.settle = "prompted", None, None, None, value.get("settle")
        self.passkeys = value.get("passkeys")
        self.sandbox = {"limits": {}, "deny": []}
        self.denied = {"read": [], "write": []}
        # Of programs: whether only those of a list may run, and what the file itself denies.
        self.program_mode, self.run_denied = "any", []
        if builtins is not None:
            check_builtins(builtins)
            if value.get("extends") != "none":
                self.deny(builtins)
        path = ref.split(":")[0]
        # Whether any list or grant allows a command.
        self.allows = builtins is not None and value.get("extends") != "none" and bool(builtins.get("run", {}).get("allow"))
        for grant in value.get("grants", []):
            self.allows |= grant["type"] == "run" and self._is_for(grant.get("runbook", "**"), path)
        for place, rule in enumerate([value.get("default", {})] + overrides):
            self.open |= set(rule) - {"mode", "approvals", "sandbox", "runbook", "standing", "emergency"}
            sandbox = rule.get("sandbox", {})
            # Every matching override applies in order, the later wins.
            if place and not self._is_for(rule["runbook"], path):
                continue
            self.mode = rule.get("mode", self.mode)
            self.approvals = rule.get("approvals", self.approvals)
            # The later rule replaces the whole value.
            self.standing = rule.get("standing", self.standing)
            self.emergency = rule.get("emergency", self.emergency)
            self.allows |= bool(rule.get("run", {}).get("allow"))
            self.run_denied += rule.get("run", {}).get("deny", [])
            self.program_mode = sandbox.get("programs", {}).get("mode", self.program_mode)
            self.deny(rule)
            # Limits by their names; deny patterns add up.
            limits = {**self.sandbox["limits"], **sandbox.get("limits", {})}
            denied = self.sandbox["deny"] + sandbox.get("deny", [])
            self.sandbox = {**self.sandbox, **sandbox, "limits": limits, "deny": denied}

    @staticmethod
    def _is_for(runbook, path):
        """A dot directory escapes none, and an ending of a format may be written."""
        return any(matches(runbook, path + ending, True) for ending in ("", ".runbook.md", ".mdx", ".md"))

    def deny(self, rule):
        """What lists deny is hidden from a step that gets something of the host; places of a terminal are none here."""
        for kind, found in self.denied.items():
            lists = rule.get(kind, {})
            if not isinstance(lists, dict) or not isinstance(lists.get("deny", []), list):
                raise Bad(f"the list {kind} of a rule is malformed")
            found += [text for text in lists.get("deny", []) if isinstance(text, str) and not text.startswith("{")]


class People(dict):
    """Names to the groups that they count for; `by_passkey`: the names of those who signed with one."""

    def __init__(self):
        super().__init__()
        self.by_passkey = set()


class Rules:
    """The conjunction of policy's rule and the step's: `parts` are triples of number, groups, each. `passkeys` of policy holds for
    the signatures of a run; without it, no passkey counts."""

    def __init__(self, policy, step, passkeys=None):
        self.parts, self.passkeys = [], passkeys
        for rule, whose in ((policy, "policy"), (step, "step")):
            if rule is None:
                continue
            if not isinstance(rule, dict):
                raise Bad(f"the {whose}'s approvals are no rule")
            needed, groups, each = rule.get("required", 1), rule.get("from"), rule.get("each", False)
            if isinstance(needed, bool) or not isinstance(needed, int) or needed < 1:
                raise Bad(f"the {whose} asks for nobody")
            if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
                raise Bad(f"the {whose}'s groups are no list")
            if len(set(groups)) != len(groups):
                raise Bad(f"the {whose} names a group twice")
            if each and len(groups) > MAX_GROUPS:
                raise Bad(f"the {whose} names more than {MAX_GROUPS} groups")
            if not groups:
                # `from: []` of a step: whom policy names.
                if whose == "policy" or policy is None or not policy.get("from") or each:
                    raise Bad(f"the {whose} names no group")
                groups = policy["from"]
            self.parts.append((needed, groups, each))
        self.groups = sorted({group for _, groups, _ in self.parts for group in groups})

    def missing(self, people):
        """Why these people (name to set of groups that they count for) are not enough, or None."""
        for needed, groups, each in self.parts:
            own = [name for name, own in people.items() if own & set(groups) and name not in getattr(people, "by_passkey", ())]
            if self.passkeys and not self.passkeys["alone"] and not own:
                return f"nobody of {', '.join(groups)} signed with another key than a passkey"
            if not each:
                found = sum(1 for own in people.values() if own & set(groups))
                if found < needed:
                    return f"{found} of {needed} from {', '.join(groups)}"
                continue
            # Hall's condition: for every set of the groups, enough people are in one of them.
            for size in range(1, len(groups) + 1):
                for some in itertools.combinations(groups, size):
                    found = sum(1 for own in people.values() if own & set(some))
                    if found < needed * size:
                        return f"{found} of {needed * size} from {', '.join(some)}, nobody filling two places"
        return None


def of_run(policy, step, authorization):
    """The two rules for the signatures of a run. In an emergency, policy has another rule."""
    if "emergency" not in authorization:
        return Rules(policy.approvals, step["approvals"], policy.passkeys)
    if policy.emergency is None:
        raise Bad("policy permits no emergency for this step")
    if seconds(authorization["expires_at"]) - seconds(authorization["issued_at"]) > policy.emergency["max_window_s"]:
        raise Bad("an emergency for longer than policy permits")
    return Rules(emergency_people(policy.emergency), step["approvals"], policy.passkeys)


def counts_for(person, touched, rules, roster, at):
    """The groups for which a signature of this person counts, or Bad."""
    by_passkey(touched, rules.passkeys)
    if "valid_after" in person and at < seconds(person["valid_after"]):
        raise Bad(f"{person['name']} is not valid yet")
    if "valid_before" in person and at >= seconds(person["valid_before"]):
        raise Bad(f"{person['name']} is no longer valid")
    named = set(person["groups"]) & set(rules.groups)
    if not named:
        raise Bad(f"{person['name']} is in no group that is asked for")
    counted = {group for group in named if int(touched or 0) >= roster.wants_presence(group)}
    if not counted:
        raise Bad(f"{person['name']} did not touch a security key")
    return counted


def check_window(times, at, longest=None):
    """The code of what is wrong with these times when the nonce is spent `at`, or None."""
    issued, begin, end = (seconds(times[name]) for name in ("issued_at", "not_before", "expires_at"))
    if not issued <= begin < end or end - issued > DAY:
        return "malformed"
    if longest is not None and end - issued > longest:
        return "policy-denied"
    if issued > at + SKEW or begin > at:
        return "not-yet-valid"
    if at >= end:
        return "expired"
    return None


KEYWORDS = {
    "string": {"pattern", "minLength", "maxLength", "x-secret", "x-leading-dash"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required"},
}
COMMON = {"type", "enum", "default", "description"}


PYTHON = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def is_secret_name(value):
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", value)


def is_of(kind, value):
    return isinstance(value, PYTHON[kind]) and not (kind == "integer" and isinstance(value, bool))


class Schema:
    """The declaration of the parameters of a step."""

    def __init__(self, value):
        parts.parameter(value, "")
        if value["type"] != "object":
            raise Bad("the parameters are no object")
        if "default" in value:
            raise Bad("the whole has no default")
        self.value = value
        self.schemas = 0
        # The patterns, and why some can't be decided here.
        self.patterns, self.open = {}, []
        self._read(value, "", 0, True)

    def check_open(self):
        """Open if a pattern can't be decided here, and nothing else is wrong."""
        if self.open:
            raise self.open[0]

    def _read(self, schema, place, depth, whole=False):
        self.schemas += 1
        if self.schemas > 256 or depth > 8:
            raise Bad(f"{place}: more than 256 declarations, or deeper than 8")
        kind = schema["type"]
        for word in schema:
            if word not in COMMON | KEYWORDS[kind]:
                raise Bad(f"{place}/{word}: not for this type")
        for low, high in (("minLength", "maxLength"), ("minItems", "maxItems"), ("minimum", "maximum")):
            if low in schema and high in schema and schema[low] > schema[high]:
                raise Bad(f"{place}/{high}: below {low}")
        if schema.get("x-secret") is False:
            raise Bad(f"{place}/x-secret: not true")
        if parts.has_secret(schema) and set(schema) & {"default", "enum", "pattern"}:
            raise Bad(f"{place}: a declaration that says which secret it is")
        if "pattern" in schema:
            self._read_pattern(schema["pattern"], place)
        if kind == "array":
            if "items" not in schema:
                raise Bad(f"{place}: an array without items")
            self._read(schema["items"], place + "/items", depth + 1)
        if kind == "object":
            if "properties" not in schema:
                raise Bad(f"{place}: an object without properties")
            self._read_properties(schema, place, depth, whole)
        choices = schema.get("enum", [None])
        if not choices or len({canonical(item) for item in choices}) != len(choices):
            raise Bad(f"{place}/enum: empty, or has a value twice")
        for word, values in (("enum", schema.get("enum", [])), ("default", [schema[word] for word in schema if word == "default"])):
            for item in values:
                self._check(schema, self._complete(schema, item), f"{place}/{word}")

    def _read_pattern(self, pattern, place):
        try:
            self.patterns[pattern] = patterns.compiled(pattern)
        except Bad as error:
            raise Bad(f"{place}/pattern: {error}") from error
        except Open as error:
            self.open.append(error)

    def _read_properties(self, schema, place, depth, whole):
        properties, needed = schema["properties"], schema.get("required", [])
        if not set(needed) <= set(properties) or len(set(needed)) != len(needed):
            raise Bad(f"{place}/required: a name twice or unknown")
        variables = set()
        for name, item in properties.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", name):
                raise Bad(f"{place}/properties: {name!r} is no name of a parameter")
            if whole:
                variable = name.upper().replace("-", "_")
                if variable in variables:
                    raise Bad(f"{place}/properties: two names become PARAM_{variable}")
                variables.add(variable)
            self._read(item, f"{place}/properties/{name}", depth + 1)

    def complete(self, value):
        """The value with defaults filled in."""
        return self._complete(self.value, value)

    def _complete(self, schema, value):
        if schema["type"] == "object" and isinstance(value, dict):
            done = dict(value)
            for name, item in schema.get("properties", {}).items():
                if name not in done and "default" in item:
                    done[name] = item["default"]
                if name in done:
                    done[name] = self._complete(item, done[name])
            return done
        if schema["type"] == "array" and isinstance(value, list):
            return [self._complete(schema["items"], item) for item in value]
        return value

    def check(self, value):
        """A signed value: complete and valid, or Bad."""
        if canonical(self.complete(value)) != canonical(value):
            raise Bad("a default is not filled in")
        if len(canonical(value)) > 16 * 1024:
            raise Bad("more than 16 KiB")
        self._check(self.value, value, "")
        self.check_open()

    def _check(self, schema, value, place):
        kind = schema["type"]
        if kind == "string" and schema.get("x-secret"):
            if not isinstance(value, dict) or set(value) != {"secret"} or not is_secret_name(value["secret"]):
                raise Bad(f"{place}: a secret is named, never written")
            return
        if not is_of(kind, value):
            raise Bad(f"{place}: no {kind}")
        same = lambda one, other: canonical(one) == canonical(other)
        if "enum" in schema and not any(same(value, item) for item in schema["enum"]):
            raise Bad(f"{place}: none of the enum")
        if kind == "string":
            self._check_text(schema, value, place)
        elif kind == "integer":
            if abs(value) > 2**53 - 1 or not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                raise Bad(f"{place}: out of range")
        elif kind == "array":
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                raise Bad(f"{place}: too few or too many items")
            for at, item in enumerate(value):
                self._check(schema["items"], item, f"{place}/{at}")
        elif kind == "object":
            properties = schema.get("properties", {})
            for name in schema.get("required", []):
                if name not in value:
                    raise Bad(f"{place}/{name}: missing")
            for name, item in value.items():
                if name not in properties:
                    raise Bad(f"{place}/{name}: unknown")
                self._check(properties[name], item, f"{place}/{name}")

    def _check_text(self, schema, value, place):
        if "\0" in value:
            raise Bad(f"{place}: NUL can't be in a variable")
        if value.startswith("-") and not schema.get("x-leading-dash"):
            raise Bad(f"{place}: begins with - and could become an option")
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
            raise Bad(f"{place}: too short or too long")
        try:
            if schema.get("pattern") in self.patterns and not match(self.patterns[schema["pattern"]], value):
                raise Bad(f"{place}: does not match {schema['pattern']}")
        except Open as error:
            self.open.append(error)
