"""Where a placeholder of a template is: the readers of shell scripts and of code. From `formats.md`, Templates.

A placeholder is one letter from FIRST on. Each reader gives the places of the placeholders that have one, by their numbers.
"""

import re

from wire import Bad

FIRST = 0xF0000
BARE, DOUBLE, SINGLE, EXPANDED, AS_IT_IS, COMMENT, NUMBER, LITERAL, STRING = range(9)
SEPARATORS = " \t\n;&|()<>"
# What a dollar begins besides brackets and braces.
NAME = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|[0-9*@#?$!-])")
BEFORE_COMMANDS = {"if", "then", "elif", "else", "while", "until", "do", "!", "{", "time"}
MOST_DEPTH, MOST_TRIES = 100, 64


class Shell:
    """`places` by the number of the placeholder; `bodies`: beginning, end, delimiter of each here-document, and whether tabs go."""

    def __init__(self, text):
        self.text, self.at, self.end, self.depth, self.tries = text, 0, len(text), 0, MOST_TRIES
        self.places, self.bodies, self.waiting = {}, [], []
        # Where a lone dollar and a `$NAME` ended last.
        self.dollar = self.named = None
        self.commands(False)

    def next(self, token):
        """Where this token ends, or 0; a backslash and a line end inside of it are nothing."""
        at = self.at
        for letter in token:
            while self.text.startswith("\\\n", at, self.end):
                at += 2
            if not self.text.startswith(letter, at, self.end):
                return 0
            at += 1
        return at

    def put(self, place):
        """Goes on; a placeholder here has this place, or none."""
        if self.at < self.end and ord(self.text[self.at]) >= FIRST:
            joined = {DOUBLE: (self.dollar, self.named), EXPANDED: (self.dollar, self.named), BARE: (self.dollar,)}
            if place is not None and self.at not in joined.get(place, ()):
                self.places[ord(self.text[self.at]) - FIRST] = place
        self.at = min(self.at + 1, self.end)

    def nested(self, work):
        """In a part that is nested too deep, nothing is read."""
        if self.depth == MOST_DEPTH:
            self.at = self.end
            return None
        self.depth += 1
        found = work()
        self.depth -= 1
        return found

    def part(self, close, place, rules, quoted=True):
        """Up to this letter. `rules`: the letters that have a meaning."""
        while self.at < self.end and self.text[self.at] != close:
            if not self.step(self.text[self.at], place, rules, quoted):
                self.put(place)
        self.at += 1

    def step(self, letter, place, rules, quoted):
        """Whether something with a meaning was read."""
        if letter not in rules and not (letter == "`" and "$" in rules):
            return False
        ansi = self.next("$'") if "'" in rules else 0
        begin, self.at = self.at, ansi or self.at + 1
        if letter == "\\":
            self.put(NUMBER if place == NUMBER else None)
        elif ansi:
            self.part("'", NUMBER if place == NUMBER else None, "\\")
        elif letter == '"':
            self.part('"', NUMBER if place == NUMBER else DOUBLE, "\\$")
        elif letter == "'":
            self.part("'", NUMBER if place == NUMBER else SINGLE, "")
        elif letter == "(":
            self.nested(lambda: self.part(")", place, rules, quoted))
        elif letter == "`":
            self.backticks()
        else:
            self.at = begin
            self.expansion(quoted)
        return True

    def backticks(self):
        """The commands are not read: a `#` begins a comment wherever it stands in a line."""
        place = EXPANDED
        while self.at < self.end and self.text[self.at] != "`":
            letter = self.text[self.at]
            if letter == "\\":
                self.at += 1
            elif letter in "#\n":
                place = COMMENT if letter == "#" else EXPANDED
            self.put(place)
        self.at += 1

    def expansion(self, quoted):
        braces = '\\$"' if quoted else "\\$\"'"
        for token, work in (("$((", self.arithmetic), ("$(", lambda: self.commands(True)), ("${", lambda: self.part("}", NUMBER, braces, quoted))):
            if self.next(token):
                self.at = self.next(token)
                self.nested(work)
                return
        name = NAME.match(self.text, self.at, self.end)
        self.at = name.end() if name else self.at + 1
        if not name:
            self.dollar = self.at
        elif name[1]:
            self.named = self.at

    def arithmetic(self):
        """Up to `))`; whether it ended so."""
        depth = 0
        while self.at < self.end:
            letter = self.text[self.at]
            if letter == ")" and depth == 0:
                ends = self.next("))")
                self.at = ends or self.at
                return ends
            if not self.step(letter, NUMBER, "$", True):
                depth += {"(": 1, ")": -1}.get(letter, 0)
                self.put(NUMBER)
        return 0

    def is_arithmetic(self):
        kept = self.at, dict(self.places), list(self.bodies), list(self.waiting)
        self.at = self.next("((")
        if self.nested(self.arithmetic):
            return True
        self.at, self.places, self.bodies, self.waiting = kept
        self.at = self.at if self.tries else self.end
        self.tries -= 1
        return False

    def commands(self, brackets):
        # What is open: "subject", "in", "pattern" or "list" of a `case`, or "test". Whether a command and a word begin here.
        opened, begins, start, word = [], True, True, ""
        while self.at < self.end:
            letter = self.text[self.at]
            if letter in SEPARATORS and word:
                begins, word = self.end_word(word, begins, opened), ""
            state = opened[-1] if opened else None
            if letter == "#" and start and state != "test":
                self.part("\n", COMMENT, "")
                self.at -= 1
            elif letter == "<" and state != "test" and self.next("<<") and not self.next("<<<"):
                self.here_document()
                start, begins = True, False
            elif letter in "<>":
                here = self.next("<<<")
                self.at, start, begins = here or self.at + 1, True, False
                if not here and self.next("("):
                    self.at, start, word = self.next("("), False, "?"
                    self.nested(lambda: self.commands(True))
            elif letter == "(" and start and self.next("((") and self.is_arithmetic():
                start = False
            elif letter == "(":
                self.at += 1
                if not start and self.text[self.at - 2] != "=" and not self.next(")"):
                    self.nested(lambda: self.part(")", BARE, "\\$\"'(", False))
                elif not (state == "pattern" and start):
                    self.nested(lambda: self.commands(True))
                    start = begins = True
            elif letter == ")":
                self.at, start = self.at + 1, True
                if state == "pattern":
                    opened[-1], begins = "list", True
                elif brackets:
                    return
            elif letter in SEPARATORS:
                if state == "list" and self.text[self.at : self.at + 2] in (";;", ";&"):
                    opened[-1] = "pattern"
                    self.at += 1
                redirects = letter in "&|" and self.text[self.at - 1 : self.at] in ("<", ">")
                self.at, begins, start = self.at + 1, begins or not (letter in " \t" or redirects), True
                if letter == "\n":
                    self.read_bodies()
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            else:
                read = self.step(letter, BARE, "\\$\"'", False)
                if not read:
                    self.put(BARE)
                # A word with quotes or expansions is no reserved word.
                word, start = word + ("?" if read else letter), False

    @staticmethod
    def end_word(word, begins, opened):
        """Whether a command begins after the word."""
        state = opened[-1] if opened else None
        if state == "subject":
            opened[-1] = "in"
        elif (state, word) == ("in", "in"):
            opened[-1] = "pattern"
        elif (state, word) in (("pattern", "esac"), ("test", "]]")) or (begins and (state, word) == ("list", "esac")):
            opened.pop()
        elif begins and state in (None, "list") and word in ("case", "[["):
            opened.append("subject" if word == "case" else "test")
        return begins and word in BEFORE_COMMANDS

    def here_document(self):
        tabs = self.next("<<-")
        self.at = tabs or self.next("<<")
        while self.at < self.end and self.text[self.at] in " \t":
            self.at += 1
        delimiter, quoted, quote = "", False, None
        while self.at < self.end and (quote or self.text[self.at] not in SEPARATORS):
            letter = self.text[self.at]
            self.at += 1
            if letter == "\\" and quote != "'":
                delimiter, quoted = delimiter + self.text[self.at : min(self.at + 1, self.end)], True
                self.put(None)
            elif letter in "'\"" and quote in (None, letter):
                quoted, quote = True, None if quote else letter
            else:
                delimiter += letter
        self.waiting.append((delimiter, quoted, tabs))

    def read_bodies(self):
        waiting, self.waiting = self.waiting, []
        for delimiter, quoted, tabs in waiting:
            begin = at = self.at
            while at < self.end:
                line = self.text[at : self.end].partition("\n")[0]
                if (line.lstrip("\t") if tabs else line) == delimiter:
                    break
                at = min(at + len(line) + 1, self.end)
            self.bodies.append((begin, at, delimiter, tabs))
            whole, self.end = self.end, at
            if quoted:
                self.part("", AS_IT_IS, "")
            else:
                self.nested(lambda: self.part("", EXPANDED, "\\$"))
            self.end = whole
            self.at = min(at + len(self.text[at:whole].partition("\n")[0]) + 1, whole)


LAST_NAME = re.compile(r"[A-Za-z0-9_$\x80-\U0010ffff]*\Z")
PLAIN = {"", "u", "return", "in", "not", "and", "or", "if", "else", "is", "print", "yield", "assert"}
RAW, FORMATTED = {"r", "b", "br", "rb"}, {"f", "t", "fr", "rf", "tr", "rt"}
TEXT = r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
COMMENTS = r"(?P<comment>//[^\n]*)|(?P<none>/\*.*?\*/"
TOKENS = {
    "python": rf"""(?P<comment>\#[^\n]*)|(?P<text>(\"{{3}}|'{{3}})(?:\\.|(?!\3)[^\\])*\3|(?!\"\"\"|'''){TEXT})|(?P<code>[^"'\\])""",
    "go": COMMENTS + r"""|`[^`]*`|'(?:\\.|[^'\\\n])*')|(?P<text>"(?:\\.|[^"\\\n])*")|(?P<code>[^"'`\\/]|/(?!\*))""",
    "node": rf"""{COMMENTS})|(?P<text>{TEXT})|(?P<code>[^"'`\\/])""",
}
TEMPLATE = re.compile(r"(?:\\.|\$(?!\{)|[^\\`$])*(`|\$\{)", re.S)


class Code:
    """`places` by the number of the placeholder, in Python (`python`), JavaScript (`node`) or Go (`go`)."""

    def __init__(self, text, language):
        node, self.places, at, code = language == "node", {}, 0, 0
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text) or (node and re.search("<!--|-->", text)):
            raise Bad("a letter that can't be read with certainty")
        # For each `${` that is open, how many braces are open in it.
        token, braces = re.compile(TOKENS[language], re.S), []
        while at < len(text):
            begin, found = at, token.match(text, at)
            kind = found.lastgroup if found else None
            if node and at == 0 and text.startswith("#!"):
                kind, at = "comment", len(text.partition("\n")[0])
            elif node and (text[at] == "`" or (text[at] == "}" and braces[-1:] == [0])):
                braces = braces[:-1] if text[at] == "}" else braces
                found, kind = TEMPLATE.match(text, at + 1), "none"
                at = found.end() if found else at
                braces += [0] if found and found[1] != "`" else []
            elif node and text[at] == "/" and not found and text[at + 1 : at + 2] != "*":
                kind, at = "code", end_of_slash(text, at, text[code:at].rstrip()[-1:])
            elif found:
                at = found.end()
            if at == begin:
                raise Bad("a text that can't be read with certainty")
            if kind == "text" and language == "python":
                kind = python_text(text[begin:at], LAST_NAME.search(text[code:begin]).group().lower())
            if kind == "code" and braces and at == begin + 1:
                braces[-1] += {"{": 1, "}": -1}.get(text[begin], 0)
            code = code if kind == "code" else at
            place = {"code": LITERAL, "text": STRING, "comment": COMMENT}.get(kind)
            for letter in text[begin:at]:
                if ord(letter) >= FIRST and place is not None:
                    self.places[ord(letter) - FIRST] = place
        if braces:
            raise Bad("a template literal is not closed")


def end_of_slash(text, at, before):
    """After a division, or after the line of what may be a regular expression."""
    line = text[at + 1 :].partition("\n")[0]
    if before and before in "0123456789]":
        return at + 1
    return at if re.search("[\"'`{}]|//|/\\*|[^\x00-\x7f]", line) else at + 1 + len(line)


def python_text(text, prefix):
    """Whether a string is plain, or takes no value."""
    if prefix not in PLAIN | RAW | FORMATTED:
        raise Bad("a string directly after a name")
    depth, inner, skip, quote = 0, None, False, text[0]
    # The first of the closing quotes is seen too.
    ends = 3 if text[:3] == quote * 3 else 1
    for at in range(ends, len(text) - ends + 1) if prefix in FORMATTED else ():
        letter = text[at]
        if skip:
            skip = False
        elif depth and letter in ("\\", "#", quote):
            raise Bad("a formatted string that can be read in two ways")
        elif letter == "\\" or (depth == 0 and text[at : at + 2] == "{{"):
            skip = True
        elif depth and letter in "'\"":
            inner = None if inner == letter else inner or letter
        elif inner is None and letter in "{}":
            depth = max(depth + (1 if letter == "{" else -1), 0)
    return "text" if prefix in PLAIN else "none"
