"""The sandbox that a run of a step gets, from step, policy and sealed configuration. From `formats.md`, section 11.

A limit is what the step declares, else what policy says, else the configuration's default. A step may ask for more only
up to what policy says or, where policy is silent, up to the larger of default and maximum. Zero is no limit. Layers are
those of the configuration; `strict` stands for at least four of them. What a step declares of the host it gets where a rule
of policy allows it by the same word, paths also below; deny patterns of both add up.
"""

import os
import re

import addresses
import programs
from documents import LAYER, PROFILE_LIMITS, arr, number, obj, one_of
from wire import Bad

# The fewest that the level ever stood for.
STRICT = {"capabilities", "landlock", "namespaces", "network"}
LEVEL = one_of("strict", "best-effort", "off")
SEVEN = obj({name: number() for name in PROFILE_LIMITS})
WHOLE = obj(
    {
        "limits": obj({"default": SEVEN, "maximum": SEVEN}),
        "sandbox": obj({"level": LEVEL, "require": arr(LAYER)}),
    }
)
ANYTHING = lambda value, place: None
# The page of formats asks for no more than this.
PART = obj(
    {
        "limits": obj({}, {"default": ANYTHING, "maximum": ANYTHING}),
        "sandbox": obj({"level": LEVEL}, {"require": arr(LAYER)}),
    }
)
DEFAULT_WALL_MS = 300_000


class Configuration:
    """`require`: layers that every run must ask for; `open`: why nothing more follows from it, or None."""

    def __init__(self, value):
        self.open = None
        try:
            WHOLE(value, "/configuration")
        except Bad as error:
            PART(value, "/configuration")
            self.open = f"the configuration does not give every profile ({error})"
        sandbox = value["sandbox"]
        # A level is a shorthand for layers, as it was when it was sealed.
        self.require = set(sandbox.get("require", ())) | (STRICT if sandbox["level"] == "strict" else set())
        self.default = self.maximum = None
        if self.open is None:
            self.default, self.maximum = value["limits"]["default"], value["limits"]["maximum"]

    def wall_ms(self, step, policy):
        """How long a run may last."""
        declared, ruled = step["sandbox"].get("limits", {}).get("wall_ms"), policy.sandbox["limits"].get("wall_ms")
        default = DEFAULT_WALL_MS if self.default is None else self.default["wall_ms"]
        return next(value for value in (declared, ruled, default) if value is not None)

    def limits(self, step, policy):
        """The seven limits, or Bad where the step asks for what it can't have. Without a configuration those of it are None."""
        limits = {}
        for name in PROFILE_LIMITS:
            declared, ruled = step["sandbox"].get("limits", {}).get(name), policy.sandbox["limits"].get(name)
            default = None if self.default is None else self.default[name]
            most = ruled
            if most is None and default is not None:
                most = max(default, self.maximum[name])
            if None not in (declared, most) and declared > most:
                raise Bad(f"{step['ref']} asks for {name} {declared}, allowed is {most}")
            limits[name] = next((value for value in (declared, ruled, default) if value is not None), None)
            if limits[name] == 0:
                raise Bad(f"{step['ref']} has {name} 0, under which nothing runs")
        return limits

    def profile(self, step, policy):
        """The whole profile; where the configuration does not give it, layers and limits are not those that follow."""
        limits = self.limits(step, policy)
        declared, rule = step["sandbox"], policy.sandbox
        if declared.get("proc") == "full" and rule.get("proc") == "minimal":
            raise Bad(f"{step['ref']} declares proc=full, policy says minimal")
        check_host(step["ref"], declared, rule)
        asked = declared.get("network", "none")
        hosts = sorted(set(asked["allow"])) if isinstance(asked, dict) else []
        mode = "allow" if hosts else asked
        require = set() if "off_reason" in declared else set(self.require)
        if mode == "host":
            # The host's network is held by nothing.
            require -= {"network"}
        if programs.has_list(policy, step):
            require |= {programs.LAYER}
        reaches = "read" in declared or "write" in declared
        denied = rule["deny"] + declared.get("deny", []) + policy.denied["read"]
        if declared.get("write"):
            denied = denied + policy.denied["write"]
        profile = {
            "require": sorted(require),
            "read": sorted(set(declared.get("read", []))),
            "write": sorted(set(declared.get("write", []))),
            "deny": sorted(set(denied)) if reaches else [],
            "workdir": declared.get("workdir", "private"),
            "network": {"mode": mode, "hosts": hosts, **words(hosts, rule)},
            "sockets": sorted(set(declared.get("sockets", []))),
            "proc": declared.get("proc") or rule.get("proc") or "minimal",
            "run_as": declared.get("run_as", "isolated"),
            "limits": limits,
        }
        if "off_reason" in declared:
            profile["off_reason"] = declared["off_reason"]
        return profile


def listed(host, rule):
    """The entry of a rule for a host, as an object, or None."""
    allowed = rule.get("network", "none")
    entries = allowed["allow"] if isinstance(allowed, dict) else []
    entries = [one if isinstance(one, dict) else {"host": one} for one in entries]
    return next((one for one in entries if one["host"] == host), None)


def words(hosts, rule):
    """The hosts of which the rule says `private` and `localhost`."""
    said = {
        word: [host for host in sorted(set(hosts)) if (listed(host, rule) or {}).get(word)]
        for word in ("private", "localhost")
    }
    return {word: of for word, of in said.items() if of}


def check_host(ref, declared, rule):
    """Nothing of the host is given that only one of the two says."""

    def need(holds, what):
        if not holds:
            raise Bad(f"{ref} declares {what}, which no rule of policy allows")

    def within(path, lists):
        return any(path == one or path.startswith(one + "/") for one in lists)

    for name in ("read", "write", "sockets"):
        for path in declared.get(name, []):
            if not path.startswith("/") or os.path.normpath(path) != path or re.search(r"[\x00-\x1f\x7f*?\[{]", path):
                raise Bad(f"{ref}: {path!r} is no plain path of the host")
    readable, writable = rule.get("read", []) + rule.get("write", []), rule.get("write", [])
    in_place = declared.get("workdir") == "in-place"
    for path in declared.get("read", []):
        need(within(path, readable), f"read={path}")
    for path in declared.get("write", []):
        # A tree that is copied or overlaid is only read.
        need(within(path, writable if in_place else readable), f"write={path}")
    if (declared.get("workdir", "private") != "private") != bool(declared.get("write")):
        raise Bad(f"{ref}: a tree to write and how it is given go together")
    need(not in_place or rule.get("workdir") == "in-place", "workdir=in-place")
    for path in declared.get("sockets", []):
        need(path in rule.get("sockets", []), f"sockets={path}")
    if "run_as" in declared:
        need(rule.get("run_as") == declared["run_as"], f"run_as={declared['run_as']}")
    asked, allowed = declared.get("network", "none"), rule.get("network", "none")
    if asked == "host":
        need(allowed == "host", "network=host")
    elif isinstance(asked, dict):
        said = words(asked["allow"], rule)
        for host in asked["allow"]:
            need(allowed == "host" or listed(host, rule) is not None, f"network={host}")
            word = addresses.word_of(host)
            need(word != addresses.NEVER and (word is None or host in said.get(word, [])), f"network={host}, {word}")
    need("off_reason" not in declared or rule.get("may_be_off") is True, "sandbox=off")
