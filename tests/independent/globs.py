"""Patterns over paths, as picomatch 4 reads them: by default, or with its option `dot: true` (see `globs.json`)."""

import functools
import re

from wire import Bad, match

MOST_BYTES, MOST_WAYS, MOST_DEPTH = 512, 64, 8

# By default a segment that begins with a wildcard matches no name that begins with a dot.
NO_DOT = r"(?!\.)"


def matches(pattern, path, dot=False, nocase=False):
    return any(match(one, path) for one in _compiled(pattern, dot, nocase))


@functools.lru_cache(maxsize=4096)
def check(pattern):
    """How many ways there are through its braces; Bad for a pattern that is refused."""
    if not pattern or len(pattern.encode()) > MOST_BYTES or pattern[0] == "!":
        raise Bad(f"pattern {pattern[:80]!r}: empty, longer than {MOST_BYTES} bytes, or negated")
    try:
        ways, end = _ways(pattern, 0, 0)
        if end < len(pattern):
            raise Bad("a brace that was never opened")
        for way in ways:
            _check_segments(way)
    except (Bad, IndexError) as error:
        raise Bad(f"pattern {pattern[:80]!r}: {error}") from error
    return len(ways)


def _ways(pattern, at, depth):
    """Every way from here to the end or, in braces, to the next comma or brace: lists of single letters and classes, an
    escaped letter with its backslash."""
    ways = [[]]
    while at < len(pattern):
        letter, after = pattern[at], pattern[at + 1 : at + 2]
        if (letter in "?*+@!" and after == "(") or letter in "()|":
            raise Bad("an extended glob or a group")
        if letter == "*" and after == "*" and (depth or pattern[at - 1 : at] == "}" and at):
            raise Bad("** inside or beside braces")
        if letter == "{":
            if pattern[max(at - 2, 0) : at] == "**":
                raise Bad("** beside braces")
            inner, at = _braces(pattern, at, depth)
            ways = [way + tail for way in ways for tail in inner]
            if len(ways) > MOST_WAYS:
                raise Bad(f"more than {MOST_WAYS} alternatives")
            continue
        if letter == "}" or (letter == "," and depth):
            return ways, at
        end = at + 1
        if letter == "\\":
            if after in ("", "/"):
                raise Bad("a backslash at the end, or before a slash")
            end = at + 2
        elif letter == "[":
            end = _class_end(pattern, at) + 1
            _check_class(pattern[at + 1 : end - 1])
        for way in ways:
            way.append(pattern[at:end])
        at = end
    return ways, at


def _braces(pattern, at, depth):
    if depth >= MOST_DEPTH:
        raise Bad(f"braces deeper than {MOST_DEPTH}")
    inner, count, begin = [], 0, at + 1
    while True:
        ways, end = _ways(pattern, begin, depth + 1)
        if ".." in pattern[begin:end]:
            raise Bad("a range in braces")
        inner += ways
        count += 1
        if end == len(pattern):
            raise Bad("a brace that is never closed")
        if pattern[end] == "}":
            if count == 1:
                raise Bad("braces with one alternative")
            return inner, end + 1
        if len(inner) > MOST_WAYS:
            raise Bad(f"more than {MOST_WAYS} alternatives")
        begin = end + 1


def _class_end(pattern, at):
    """Where the class that begins here ends. A ] right after [ or [^ is a member."""
    first = at + 1 + (pattern[at + 1 : at + 2] == "^")
    end = first
    while True:
        if end >= len(pattern):
            raise Bad("a [ that is never closed")
        if pattern[end] == "]" and end > first:
            return end
        end += 2 if pattern[end] == "\\" else 1


def _members(inner):
    """Pairs of a letter and whether it was escaped, and whether the class is negated."""
    negated = inner.startswith("^")
    found, at = [], int(negated)
    while at < len(inner):
        escaped = inner[at] == "\\"
        found.append((inner[at + escaped], escaped))
        at += 1 + escaped
    return found, negated


def _check_class(inner):
    if inner.startswith("!"):
        raise Bad("[! is read differently by shells")
    if "/" in inner or re.search(r"\[[:.=]", inner):
        raise Bad("a slash or a POSIX class in brackets")
    for _ in _ranges(_members(inner)[0]):
        pass


def _ranges(members):
    at = 0
    while at < len(members):
        low = high = members[at][0]
        if members[at + 1 : at + 2] == [("-", False)] and at + 2 < len(members):
            high = members[at + 2][0]
            at += 2
            if low > high:
                raise Bad(f"the range {low}-{high} is empty")
        at += 1
        yield low, high


def _check_segments(way):
    segments = [[]]
    for token in way:
        if token == "/":
            segments.append([])
        else:
            segments[-1].append(token.removeprefix("\\") if len(token) == 2 else token)
    if segments[0] == ["."] and len(segments) > 1:
        segments.pop(0)
    if any("".join(segment) in ("", ".", "..") for segment in segments):
        raise Bad("an empty segment, . or ..")


@functools.lru_cache(maxsize=1024)
def _compiled(pattern, dot, nocase):
    check(pattern)
    flags = re.S | (re.I if nocase else 0)
    return [re.compile(_translate(one, "" if dot else NO_DOT), flags) for one in _expand(pattern)]


def _expand(pattern):
    """`{a,{b,c}}d` as `ad`, `bd`, `cd`."""
    depth, begin, commas, at = 0, None, [], 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
        elif letter == "[":
            at = _class_end(pattern, at)
        elif letter == "{":
            if depth == 0:
                begin, commas = at, [at]
            depth += 1
        elif letter == "," and depth == 1:
            commas.append(at)
        elif letter == "}" and depth:
            depth -= 1
            if depth == 0 and len(commas) > 1:
                ends = commas[1:] + [at]
                parts = [pattern[one + 1 : end] for one, end in zip(commas, ends)]
                return [whole for part in parts for whole in _expand(pattern[:begin] + part + pattern[at + 1 :])]
        at += 1
    return [pattern]


def _translate(pattern, hidden):
    while pattern.startswith("./"):
        pattern = pattern[2:]
    segments = pattern.split("/")
    made, last = "", len(segments) - 1
    for at, segment in enumerate(segments):
        if segment == "**" and at < last:
            # Any number of whole segments.
            made += f"(?:{hidden}[^/]+/)*"
        elif segment == "**":
            # `a/**` also matches `a` itself, but `*/**` and `a*/**` want something below.
            rest = f"{hidden}[^/]+(?:/{hidden}[^/]+)*"
            if at and not segments[at - 1].endswith("*"):
                made = made[: -len("/")] + f"(?:/{rest})?"
            else:
                made += rest
        else:
            made += _segment(segment, hidden) + ("/" if at < last else "")
    return made


def _segment(segment, hidden):
    made, at, first = "", 0, True
    while at < len(segment):
        letter = segment[at]
        if letter == "*":
            while segment[at + 1 : at + 2] == "*":
                at += 1
            # Alone it must stand for something.
            made += (hidden if first else "") + ("[^/]+" if segment.strip("*") == "" else "[^/]*")
        elif letter == "?":
            made += (hidden if first else "") + "[^/]"
        elif letter == "[":
            end = _class_end(segment, at)
            members, negated = _members(segment[at + 1 : end])
            ranges = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in _ranges(members))
            made += "[" + ("^/" if negated else "") + ranges + "]"
            at = end
        elif letter == "\\" and at + 1 < len(segment):
            at += 1
            made += re.escape(segment[at])
        else:
            made += re.escape(letter)
        first = False
        at += 1
    return made
