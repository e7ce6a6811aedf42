"""Templates: which script runs for these parameters. From `formats.md`, Templates."""

import re

import parts
import places
from places import BARE, COMMENT, DOUBLE, EXPANDED, FIRST, NUMBER, SINGLE, STRING
from wire import Bad, canonical

SHELLS = ("bash", "sh", "dash")
CODE = {"python": "python", "python3": "python", "node": "node", "javascript": "node", "go": "go"}
MOST_BYTES, MOST_VARIANTS, MOST_WORK, MOST_DEPTH, MOST_PLACEHOLDERS = 65536, 64, 4194304, 16, 64
SPACE = " \t\r\n"
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
INSIDE = re.compile(r'(?:"(?:\\[^\n]|[^"\\\n])*"|`[^`\n]*`|[^"`\n}]|\}(?!\}))*')
LITERAL = re.compile(r'"[^"\\]*"|`[^`]*`')
TOKEN = re.compile(r'\s*([()]|"[^"\\]*"|[^ \t()"]+)')


def of_step(step):
    """The template of a step, or Bad."""
    template, properties = Template(step["source"], step["interpreter"]), step["params"].get("properties", {})
    for name in template.names:
        if name not in properties or parts.has_secret(properties[name]):
            raise Bad(f"the template names {name}, which is secret or not in the schema")
    return template


def pieces(source):
    """Pairs: whether it is an action, and the text. Comments are left out."""
    at, trim, found = 0, False, []
    while True:
        begin = source.find("{{", at)
        text = source[at : begin if begin >= 0 else len(source)]
        found.append((False, text.lstrip(SPACE) if trim else text))
        if begin < 0:
            return found
        rest = source[begin + 2 :]
        if rest.lstrip("- \t\n").startswith("/*"):
            # The end of the comment, and then that of the action.
            end = rest.find("}}", rest.find("*/") + 2) if "*/" in rest else -1
        else:
            end = INSIDE.match(rest).end()
        if not rest.startswith("}}", end):
            raise Bad("an action is not closed")
        at, action = begin + end + 4, rest[:end]
        if action[:1] == "-" and action[1:2] and action[1] in SPACE:
            action, found[-1] = action[1:], (False, found[-1][1].rstrip(SPACE))
        trim = action[-1:] == "-" and bool(action[-2:-1]) and action[-2] in SPACE
        action = (action[:-1] if trim else action).strip(SPACE)
        if not re.fullmatch(r"/\*.*\*/", action, re.S):
            found.append((True, action))


class Template:
    """`nodes`: ("text", text), ("value", name), ("if", [(condition or None, nodes)]), ("range", name, nodes)."""

    def __init__(self, source, interpreter):
        self.code, size = CODE.get(interpreter), len(source.encode())
        if (interpreter not in SHELLS and self.code is None) or size > MOST_BYTES or any(ord(letter) >= FIRST for letter in source):
            raise Bad("a template that is too long, has a letter for private use, or is in a language without templates")
        self.pieces, self.depth, self.paths, self.names = iter(pieces(source)), 0, {}, set()
        self.nodes, end = self.list(None)
        if end is not None or sum(slots + 8 for slots in variants(self.nodes)) * size > MOST_WORK:
            raise Bad("an end that closes nothing, or too much work")

    def list(self, scope):
        nodes = []
        for is_action, text in self.pieces:
            word, rest = (re.split(r"[ \t]", text, maxsplit=1) + [""])[:2]
            if not is_action or LITERAL.fullmatch(text):
                nodes.append(("text", text[1:-1] if is_action else text))
            elif word in ("end", "else"):
                return nodes, text
            elif word in ("if", "range"):
                self.depth += 1
                if self.depth > MOST_DEPTH:
                    raise Bad("nested too deep")
                nodes.append(self.choice(rest, scope) if word == "if" else self.repeat(rest, scope))
                self.depth -= 1
            else:
                nodes.append(("value", self.value(text, scope)))
        return nodes, None

    def condition(self, text, scope):
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found:
                raise Bad("a condition that can't be read")
            tokens.append(found[1])
            at = found.end()
        read = self.function(tokens, scope, 0)
        if tokens:
            raise Bad("a condition with too many words")
        return read

    def function(self, tokens, scope, depth):
        name = tokens[0] if tokens else ""
        if name not in ("eq", "ne", "not", "and", "or"):
            return self.operand(tokens, scope, depth)
        tokens.pop(0)
        found = []
        while tokens and tokens[0] != ")":
            found.append(self.operand(tokens, scope, depth))
        low, high = {"eq": (2, 10**9), "ne": (2, 2), "not": (1, 1)}.get(name, (1, 10**9))
        if not low <= len(found) <= high:
            raise Bad(f"{name} with {len(found)} arguments")
        return (name, found)

    def operand(self, tokens, scope, depth):
        token = tokens.pop(0) if tokens else ""
        if token == "(" and depth < MOST_DEPTH:
            inner = self.function(tokens, scope, depth + 1)
            if tokens and tokens.pop(0) == ")":
                return inner
        if token in ("true", "false"):
            return ("literal", token == "true")
        if token[:1] == '"':
            return ("literal", token[1:-1])
        if token[:1] in (".", "$"):
            return ("value", self.value(token, scope))
        if re.fullmatch(r"[+-]?[0-9]+", token) and -(2**63) <= int(token) < 2**63:
            return ("literal", int(token))
        raise Bad(f"a condition with {token[:60]!r}")

    def choice(self, text, scope):
        branches, condition = [], self.condition(text, scope)
        while True:
            nodes, end = self.list(scope)
            branches.append((condition, nodes))
            words = (end or "").split()
            if words == ["end"]:
                return ("if", branches if condition is None else [*branches, (None, [])])
            if condition is None or words[:1] != ["else"] or words[1:2] not in ([], ["if"]):
                raise Bad(f"an if that {end!r} does not close")
            condition = self.condition(end.partition("if")[2], scope) if words[1:] else None

    def repeat(self, text, scope):
        names, declares, name = text.partition(":=")
        names = [one.strip() for one in names.split(",")] if declares else []
        good = all(one.startswith("$") and WORD.fullmatch(one[1:]) for one in names) and len(set(names)) == len(names) <= 2
        if scope is not None or not good:
            raise Bad("a range in a range, or with names that are none")
        inner = dict(zip(names, ("index", "item") if len(names) == 2 else ("item",)), **{".": "item"})
        name = self.value((name if declares else text).strip(), None)
        nodes, end = self.list(inner)
        if end != "end":
            raise Bad("a range is not closed")
        return ("range", name, nodes)

    def value(self, text, scope):
        """`item`, `index`, or the name of a parameter with a dot before it."""
        if scope is not None and text in scope:
            return scope[text]
        path = text[2:] if text.startswith("$.") else text[1:] if scope is None and text.startswith(".") else ""
        parts = path.split(".")
        parts = parts[1:] if len(parts) == 2 and parts[0] == "inputs" else parts
        output = len(parts) == 3 and parts[0] == "outputs" and all(WORD.fullmatch(part.replace("-", "_")) for part in parts[1:])
        if not output and (len(parts) != 1 or not WORD.fullmatch(parts[0]) or parts[0] in ("inputs", "outputs")):
            raise Bad(f"no action that there is: {text[:60]!r}")
        path = ".".join(parts).replace("-", "_")
        name = path.replace(".", "_")
        if self.paths.setdefault(name, path) != path:
            raise Bad(f"two names for the parameter {name}")
        self.names.add(name)
        return "." + name

    def render(self, params):
        parts, most = [], [0]

        def value(name, item):
            if name in ("item", "index"):
                return item[name == "index"]
            if name[1:] not in params:
                raise Bad(f"the parameter {name[1:]} has no value")
            return params[name[1:]]

        def walk(nodes, item):
            for kind, first, *rest in nodes:
                if kind in ("text", "value"):
                    parts.append(first if kind == "text" else (value(first, item),))
                elif kind == "if":
                    taken = (inner for condition, inner in first if condition is None or holds(condition, lambda name: value(name, item)))
                    walk(next(taken), item)
                else:
                    items = value(first, None)
                    if not isinstance(items, list):
                        raise Bad("a range over no list")
                    most[0] = max(most[0], len(items))
                    for index, one in enumerate(items):
                        walk(rest[0], (one, index))

        walk(self.nodes, None)
        values = [part[0] for part in parts if isinstance(part, tuple)]
        if len(values) > MOST_PLACEHOLDERS and most[0] > 2:
            raise Bad("a list that gives too many placeholders")
        if self.code is None and runs_as_number(list(params.values())):
            raise Bad("a text with `[` and then `$` or a backtick")
        numbers = iter(range(FIRST, FIRST + len(values)))
        marked = "".join(chr(next(numbers)) if isinstance(part, tuple) else part for part in parts)
        reader = places.Code(marked, self.code) if self.code else places.Shell(marked)
        if len(reader.places) < len(values):
            raise Bad("a placeholder where no value can be written")
        texts = [in_code(self.code, reader.places[slot], one) if self.code else in_shell(reader.places[slot], one) for slot, one in enumerate(values)]
        fill = lambda text: "".join(texts[ord(letter) - FIRST] if ord(letter) >= FIRST else letter for letter in text)
        for begin, end, delimiter, tabs in () if self.code else reader.bodies:
            for line in re.findall(r"[^\n]*\n|[^\n]+", fill(marked[begin:end])):
                if line.removesuffix("\n").lstrip("\t" if tabs else "\n") == delimiter:
                    raise Bad("a value that ends its here-document")
        script = fill(marked)
        if len(script.encode()) > MOST_BYTES:
            raise Bad("the script is too long")
        return script


def variants(nodes):
    """The number of placeholders of each variant."""
    found = [0]
    for kind, first, *rest in nodes:
        ways = [int(kind == "value")]
        if kind == "if":
            ways = [way for _, inner in first for way in variants(inner)]
        elif kind == "range":
            once = variants(rest[0])
            ways = [0, *once, *(one + other for one in once for other in once)]
        if len(found) * len(ways) > MOST_VARIANTS:
            raise Bad("too many variants")
        found = [one + way for one in found for way in ways]
    return found


def holds(condition, value):
    kind, rest = condition
    if kind == "literal":
        return bool(rest)
    return bool(value(rest) if kind == "value" else called(kind, rest, value))


def called(kind, rest, value):
    if kind in ("not", "and", "or"):
        found = [holds(one, value) for one in rest]
        return {"not": not found[0], "and": all(found), "or": any(found)}[kind]
    first, *others = [one[1] if one[0] == "literal" else value(one[1]) if one[0] == "value" else holds(one, value) for one in rest]
    if any(type(first) is not type(other) for other in others) or not isinstance(first, (str, bool, int)):
        raise Bad("a condition compares values of two types")
    return (first in others) == (kind == "eq")


def runs_as_number(value):
    if isinstance(value, str):
        return bool(re.search(r"\[.*[$`]", value, re.S))
    return any(runs_as_number(one) for one in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


def plain(value):
    if isinstance(value, (list, dict)) or value is None:
        raise Bad("a list or an object has no text")
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_shell(place, value):
    text = plain(value)
    bad = {COMMENT: "\n" in text, NUMBER: not re.fullmatch(r"0|[1-9][0-9]{0,15}", text)}.get(place)
    if bad or re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]", text):
        raise Bad("a value that its place does not take")
    if place in (BARE, SINGLE):
        text = text.replace("'", "'\\''")
        return f"'{text}'" if place == BARE else text
    special = {DOUBLE: r'([\\"$`])', EXPANDED: r"([\\$`])"}.get(place)
    return re.sub(special, r"\\\1", text) if special else text


def escaped(language, text):
    def one(found):
        number = ord(found[0])
        if number > 0xFFFF and language == "node":
            return "".join(f"\\u{unit:04x}" for unit in (0xD7C0 + (number >> 10), 0xDC00 + (number & 0x3FF)))
        return f"\\U{number:08x}" if number > 0xFFFF else f"\\u{number:04x}"

    return re.sub(r"[^ -~]|[\\\"'`]", one, text)


def in_code(language, place, value):
    if place in (STRING, COMMENT):
        text = plain(value)
        if place == COMMENT and not re.fullmatch(r"[ -~]*", text):
            raise Bad("a comment takes printable ASCII only")
        return text if place == COMMENT else escaped(language, text)
    if isinstance(value, bool):
        return str(value) if language == "python" else plain(value)
    if isinstance(value, (str, int)):
        return f'"{escaped(language, value)}"' if isinstance(value, str) else f"({value})" if value < 0 else str(value)
    if language == "python" and isinstance(value, list):
        return "[" + ", ".join(in_code(language, place, one) for one in value) + "]"
    if language == "python" and isinstance(value, dict):
        return "{" + ", ".join(f'"{escaped(language, name)}": {in_code(language, place, one)}' for name, one in value.items()) + "}"
    if language != "node" or value is None:
        raise Bad("no literal of this language")
    return f'JSON.parse("{escaped(language, canonical(value).decode())}")'
