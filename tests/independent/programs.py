"""The list of programs that a run may execute: its form, what a receipt says of it, closures, and the rules of it that need no reading
of scripts. A profile names its list by the digest. From `formats.md`, sections 9 to 12 and 15."""

import re

from globs import matches
from shapes import (
    WORK,
    Bad,
    arr,
    at_most,
    host_path,
    number,
    obj,
    one_of,
    program,
    wrong,
)
from wire import canonical, reference

# Of a list, and of the programs that a step or a rule of policy names.
MOST, MOST_NAMED = 4096, 128
MOST_BYTES, MOST_NAMED_BYTES = 256 << 10, 4096
LAYER = "programs"
MODE = one_of("any", "listed")


def path_of_program(value, place):
    if value != WORK:
        host_path(value, place)


PROGRAM = obj({"name": program, "path": path_of_program})


def listed_program(value, place):
    PROGRAM(value, place)
    if (value["name"] == WORK) != (value["path"] == WORK):
        raise wrong(place, f"{WORK} is both name and path, or neither")


LIST = at_most(MOST_BYTES, arr(listed_program, low=1, high=MOST, ordered=True))
# What a bundle holds is only later compared with what was signed.
OF_BUNDLE = arr(PROGRAM)
DECLARED = at_most(MOST_NAMED_BYTES, arr(program, low=1, high=MOST_NAMED, ordered=True))


def check_named(sandbox, listed):
    """Whether these programs are the list that a profile names, or there is neither."""
    if listed is not None:
        LIST(listed, "")
    if sandbox.get("programs") != (None if listed is None else reference(canonical(listed))):
        raise Bad("there is another list of programs than the profile names, or there is one and not the other")


def executions(high):
    path = obj({"path": host_path, "count": number(1)})
    return obj({"paths": arr(path, high=high, by="path"), "more": number()})


def facts(value, place):
    """What a receipt says: whether there was a list, and what was started and refused."""
    shape = obj({"mode": MODE, "listed": number(0, MOST)}, {"refused": executions(8), "started": executions(16)})
    at_most(2048, shape)(value, place)
    if (value["listed"] == 0) != (value["mode"] == "any"):
        raise wrong(f"{place}/listed", "0 exactly where any program may run")


# Policy and built-in lists.


def allowed(value, place):
    """What a policy names: a name, a plain path, or what the step builds."""
    program(value, place)
    if value != WORK and (re.search(r'[*?\[{"\\ ]', value) or ("/" in value and value[0] != "/")):
        raise wrong(place, "no program")


def allow(value, place):
    arr(allowed, low=1, high=MOST_NAMED)(value, place)
    if len(set(value)) != len(value):
        raise wrong(place, "a program twice")


RULE = obj({}, {"mode": MODE, "allow": allow})


def check_closures(value):
    """Programs that a program starts, by its name."""
    if not isinstance(value, dict) or len(value) > 512:
        raise Bad("the closures are no object of at most 512 programs")
    for name, closure in value.items():
        if not _is_bare(name) or not isinstance(closure, dict) or set(closure) != {"source", "starts"}:
            raise Bad(f"the closure of {name[:80]!r} is malformed")
        source, starts = closure["source"], closure["starts"]
        if not isinstance(source, str) or not source.strip() or len(source.encode()) > 512 or re.search(r"[\x00-\x1f\x7f-\x9f]", source):
            raise Bad(f"the closure of {name} has no source")
        if not isinstance(starts, list) or len(starts) > 512 or not all(_is_bare(one) or _is_pattern(one) for one in starts):
            raise Bad(f"the closure of {name} starts what is no program")
        if name in starts or any(one >= other for one, other in zip(starts, starts[1:])):
            raise Bad(f"the closure of {name} is out of order, or has {name} itself")


def _is_bare(word):
    return isinstance(word, str) and re.fullmatch(r"[A-Za-z0-9._+][A-Za-z0-9._+-]{0,127}", word) is not None and word not in (".", "..")


def _is_pattern(word):
    if not isinstance(word, str) or len(word) > 128 or not re.fullmatch(r"(/[A-Za-z0-9._+*-]+)+", word):
        return False
    return "**" not in word and not {".", ".."} & set(word.split("/"))


# What follows without reading a script.


def has_list(policy, step):
    return "off_reason" not in step["sandbox"] and (policy.program_mode == "listed" or "programs" in step)


def interpreter_of(step):
    """The name under which the interpreter is listed, or None where it is no program's."""
    name = {"python": "python3", "javascript": "node"}.get(step["interpreter"], step["interpreter"])
    try:
        program(name, "")
    except Bad:
        return None
    return listed_name(name)


def check_list(policy, step, sandbox, listed):
    """Whether there is a list where there must be one and nowhere else, with the programs that it must have and none that is
    denied. `listed` are the programs of the list that the profile names."""
    if ("programs" in sandbox) != has_list(policy, step):
        raise Bad("a run has a list of programs exactly where policy or the step says so")
    if listed is None:
        return
    names = {one["name"] for one in listed}
    declared, interpreter = {listed_name(one) for one in step.get("programs", [])}, interpreter_of(step)
    missing = (declared | {interpreter} - {None}) - names
    if missing:
        raise Bad(f"the list lacks {', '.join(sorted(missing))}")
    if LAYER not in sandbox["require"]:
        raise Bad("a list that no sandbox must hold")
    for one in listed:
        name, file = one["name"], one["path"].rsplit("/", 1)[-1]
        if name in {WORK} | ({interpreter} - declared):
            continue
        if any(denies(pattern, word) for pattern in policy.run_denied for word in (name, file)):
            raise Bad(f"the policy denies {name}, and the list has it")


def listed_name(program_or_path):
    """The name in a list: the last segment."""
    last = program_or_path.rsplit("/", 1)[-1]
    return program_or_path if program_or_path == WORK or last in ("", ".", "..") else last


def denies(pattern, name):
    """Whether this pattern of a deny list of `run` is for names, and of this one. Where a program lies is not known here."""
    if pattern in ("[", "."):
        return name == pattern
    return "/" not in pattern and matches(pattern, name, True, True)
