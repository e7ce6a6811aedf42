"""Patterns of parameters: the portable grammar and its weight. From `formats.md`, Parameter schema."""

import re

from wire import Bad, Open

MOST_WEIGHT, MOST_PARTS, MOST_DEPTH = 8000, 32768, 50
SPACE = r"\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
# What a class stands for, and its weight.
CLASSES = {"d": ("0-9", 80), "w": ("A-Za-z0-9_", 800), "s": (SPACE, 32), "D": ("^0-9", 200), "W": ("^A-Za-z0-9_", 800), "S": (f"^{SPACE}", 32)}
ONE = r"(?:\\[nrt!-/:;=?@\[-`{-~]|[^\\\[\]-])"
ITEM = re.compile(rf"(?:\\([dws])(?!-[^\]])|({ONE})(?:-(?!\])({ONE}))?|-(?=\])|(?<=\[)-|(?<=\[\^)-)", re.S)
PART = re.compile(
    rf"(?P<open>\((?:\?:)?)|(?P<close>\))|(?P<either>\|)|(?P<any>\.)|\\(?P<known>[dDwWsS])|\[(?P<not>\^?)(?P<items>(?:{ITEM.pattern})+)\]"
    r"|(?P<one>\\[nrt!-/:;=?@\[-`{-~]|[^\\.*+?()\[\]{}|^$])",
    re.S,
)
REPEAT = re.compile(r"(?:([*+?])|\{([0-9]{1,9})(?:(,)([0-9]{1,9})?)?\})\??")


def compiled(pattern):
    """The pattern between `^` and `$`, or Bad if no schema may have it, or Open if only Rust's engine can say what it means."""
    if len(pattern.encode()) > 512 or not re.fullmatch(r"\^.*\$", pattern, re.S) or (len(pattern) - len(pattern[:-1].rstrip("\\"))) % 2 == 0:
        raise Bad("a pattern begins with ^, ends with $ and has at most 512 bytes")
    check_outside(pattern)
    at, end, out = 1, len(pattern) - 1, []
    # Weight and number of parts of each open bracket.
    sums = [[0, 0]]
    while at < end:
        found = PART.match(pattern, at, end)
        if not found or len(sums) > MOST_DEPTH:
            raise Open(f"a pattern that is not portable at {pattern[at : at + 20]!r}")
        at, weight, parts = found.end(), 1, 1
        if found["open"]:
            out.append(found["open"])
            sums.append([0, 0])
            continue
        if found["either"]:
            out.append("|")
            continue
        if found["close"]:
            weight, parts = sums.pop()
            weight += 1
            out.append(")")
        elif found["any"]:
            weight = 20
            out.append(r"[^\n]")
        elif found["known"]:
            inside, weight = CLASSES[found["known"]]
            out.append(f"[{inside}]")
        elif found["items"]:
            weight, inside, begin = 20 if found["not"] else 0, found["not"], found.start("items")
            while begin < found.end("items"):
                # The brackets stay in view, because a `-` beside them is an ordinary letter.
                one = ITEM.match(pattern, begin)
                text, more = item(one)
                weight, inside, begin = weight + more, inside + text, one.end()
            out.append(f"[{inside}]")
        else:
            weight = weight_of(found["one"])
            out.append(letters(found["one"]))
        repeat = REPEAT.match(pattern, at, end)
        if repeat:
            low = int(repeat[2] or 1)
            high = int(repeat[4] or low)
            if high < low:
                raise Bad("a repetition from more to fewer")
            at = repeat.end()
            out.append(repeat.group())
            weight, parts = (weight + 1) * max(high, 1), parts * high
        sums[-1][0] += weight
        sums[-1][1] += parts
    if sums[0][1] > MOST_PARTS:
        raise Bad("a pattern that is too large")
    if sums[0][0] > MOST_WEIGHT:
        raise Open("a pattern whose size only Rust's engine can tell")
    return re.compile("".join(out), re.S)


def item(found):
    """One item of brackets for Python, and its weight."""
    known, begin, end = found.groups()
    if known:
        return CLASSES[known]
    begin = begin or "-"
    if not end:
        return letters(begin), weight_of(begin)
    if meant(end) < meant(begin):
        raise Bad("a range whose end is before its beginning")
    return f"{letters(begin)}-{letters(end)}", weight_of(begin) + (1 if end.isascii() else 20)


def meant(text):
    return {"\\n": "\n", "\\r": "\r", "\\t": "\t"}.get(text, text[-1])


def letters(text):
    return re.escape(meant(text))


def weight_of(text):
    return 1 if text.isascii() else 4


def check_outside(pattern):
    """What no schema may have, whatever engine reads it."""
    depth, at, inside = 0, 1, False
    while at < len(pattern) - 1:
        letter = pattern[at]
        if letter == "\\":
            if not inside and re.match(r"[0-9ka]", pattern[at + 1 :]):
                raise Bad("a back-reference, or the escape \\a")
            at += 1
        elif inside:
            if letter == "[" or pattern[at : at + 2] in ("&&", "--", "~~"):
                raise Bad(f"{letter!r} in brackets")
            inside = letter != "]"
        elif letter == "[":
            inside = True
            if re.match(r"\^?\]", pattern[at + 1 :]):
                raise Bad("a `]` directly after `[`")
        elif letter in "()":
            depth += 1 if letter == "(" else -1
            if re.match(r"\(\?(?!:)", pattern[at:]):
                raise Bad("look-around, a flag or a name")
        if depth < 0 or (not inside and (letter in "^$" or (letter == "|" and depth == 0))):
            raise Bad(f"{letter!r} where it may not be")
        at += 1
    if depth or inside:
        raise Bad("a bracket is not closed")
