"""The sandbox that a run of a step gets, from step, policy and sealed configuration. From `sealed-configuration.v1.json` and the README.

A limit is what the step declares, else what policy says, else the configuration's default. A step may ask for more only
up to what policy says or, where policy is silent, up to the larger of default and maximum. Zero is no limit. Layers are
those of the configuration; `strict` stands for at least four of them. All else is the same for every run.
"""

from documents import LAYER, PROFILE_LIMITS, arr, number, obj, one_of
from wire import Bad

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
        strict = sandbox["level"] == "strict"
        self.require = sorted(set(sandbox.get("require", STRICT if strict else ())))
        if strict and not STRICT <= set(self.require):
            # A level is a shorthand for layers: this one would promise what the list does not hold.
            self.require = sorted(STRICT | set(self.require))
        self.default = self.maximum = None
        if self.open is None:
            self.default, self.maximum = value["limits"]["default"], value["limits"]["maximum"]

    def wall_ms(self, step, policy):
        """How long a run may last."""
        declared = step["sandbox"].get("limits", {}).get("wall_ms")
        default = DEFAULT_WALL_MS if self.default is None else self.default["wall_ms"]
        return next(value for value in (declared, policy.limits.get("wall_ms"), default) if value is not None)

    def check_limits(self, step, policy):
        """The seven limits, or Bad where the step asks for what it can't have. Without a configuration those of it are None."""
        limits = {}
        for name in PROFILE_LIMITS:
            declared, ruled = step["sandbox"].get("limits", {}).get(name), policy.limits.get(name)
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
        limits = self.check_limits(step, policy)
        declared = step["sandbox"].get("proc")
        if declared == "full" and policy.proc == "minimal":
            raise Bad(f"{step['ref']} declares proc=full, policy says minimal")
        return {
            "require": self.require,
            "read": [],
            "write": [],
            "deny": [],
            "workdir": "private",
            "network": {"mode": "none", "hosts": []},
            "sockets": [],
            "proc": declared or policy.proc or "minimal",
            "run_as": "isolated",
            "limits": limits,
        }
