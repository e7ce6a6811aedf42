"""Patterns over paths, as picomatch 4 reads them: by default, or with its option `dot: true` (see `globs.json`)."""

import functools
import re

from wire import match

# By default a segment that begins with a wildcard matches no name that begins with a dot.
NO_DOT = r"(?!\.)"


def matches(pattern, path, dot=False):
    return any(match(one, path) for one in _compiled(pattern, dot))


@functools.lru_cache(maxsize=1024)
def _compiled(pattern, dot):
    return [re.compile(_translate(one, "" if dot else NO_DOT), re.S) for one in _expand(pattern)]


def _expand(pattern):
    """`{a,{b,c}}d` as `ad`, `bd`, `cd`."""
    depth, begin, commas, at = 0, None, [], 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\":
            at += 1
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
        elif letter == "[" and "]" in segment[at + 2 :]:
            end = segment.index("]", at + 2)
            inner = segment[at + 1 : end]
            negated = inner[0] in "^!"
            inner = inner[1:] if negated else inner
            made += "[" + ("^/" if negated else "") + re.sub(r"([\\\[\]&~|])", r"\\\1", inner) + "]"
            at = end
        elif letter == "\\" and at + 1 < len(segment):
            at += 1
            made += re.escape(segment[at])
        else:
            made += re.escape(letter)
        first = False
        at += 1
    return made
