//! Generates shell scripts from a seed: common scripts, or scripts with many constructs that mislead a parser.

use std::fmt::Write as _;

/// Programs that exist and record each call. The programs with an `n` at the start of the name fail.
pub(crate) const PROGRAMS: &[&str] = &[
    "ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ivy", "joe", "kim", "lea", "max",
    "ora", "pam", "rex", "sam", "tom", "nay", "nix",
];

/// A random number generator with a seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// The kind of a generated script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Common constructs of runbooks.
    Everyday,
    /// Any construct of the grammar, with literal names.
    Traps,
    /// As `Traps`, with names that only an execution of the script shows.
    Hidden,
    /// Constructs that mislead a parser that knows only the grammar.
    Sly,
    /// Any construct of the grammar, with random changes of bytes.
    Damaged,
    /// Errors in expansions and assignments, after which bash skips the rest of a line.
    Errors,
}

/// Returns the script of a seed.
pub(crate) fn script(seed: u64, form: Form) -> String {
    let mut maker = Maker {
        random: Random::new(seed),
        traps: form != Form::Everyday,
        calls: form != Form::Damaged,
        hidden: matches!(
            form,
            Form::Hidden | Form::Sly | Form::Damaged | Form::Errors
        ),
        delimiters: 0,
        functions: Vec::new(),
    };
    let mut text = match form {
        Form::Sly => maker.sly(),
        Form::Errors => maker.error(),
        _ => maker.whole(),
    };
    if form == Form::Sly && maker.random.one_in(3) {
        text = format!("{}\n{text}\n{}", maker.simple(0), maker.simple(0));
    }
    if form == Form::Damaged {
        damage(&mut text, &mut maker.random);
    }
    text
}

/// Removes, doubles or inserts characters with a meaning in the grammar.
fn damage(text: &mut String, random: &mut Random) {
    const BITS: &[&str] = &[
        "'", "\"", "`", "$(", ")", "(", "{", "}", " ", "\n", "\\", "\\\n", ";", "&", "|", "#",
        "<<E\n", "EOF", "$", "${", "[", "]", "=", "<", ">", "\nE\n", "!", "((", "))", " if ",
        " do ", "case ", ";;", "$'", "<(", "esac", "in", " { ", "'\\''", "&>", "<<<", "~", "*",
    ];
    for _ in 0..=random.below(3) {
        let mut at = random.below(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        match random.below(4) {
            0 | 1 => text.insert_str(at, random.pick(BITS)),
            2 if at < text.len() => {
                text.remove(at);
            }
            _ => {
                let special: Vec<usize> = text
                    .match_indices(['\'', '"', '`', '(', ')', '{', '}', '\\', '\n'])
                    .map(|(at, _)| at)
                    .collect();
                if !special.is_empty() {
                    let at = special[random.below(special.len())];
                    text.remove(at);
                }
            }
        }
    }
}

struct Maker {
    random: Random,
    traps: bool,
    /// Whether a program's name may be hidden until the script runs.
    hidden: bool,
    /// Whether the script calls its functions. In a damaged script, a function could call itself without end.
    calls: bool,
    delimiters: usize,
    functions: Vec<String>,
}

impl Maker {
    fn program(&mut self) -> &'static str {
        self.random.pick(PROGRAMS)
    }

    fn whole(&mut self) -> String {
        let mut text = String::new();
        if self.random.one_in(4) {
            text.push_str(self.random.pick(&[
                "#!/bin/bash\n",
                "#!/bin/sh\nset -e\n",
                "set -u\n",
                "# it's a \"comment $(rex)\n",
                "\n\n",
            ]));
        }
        for _ in 0..=self.random.below(if self.traps { 3 } else { 6 }) {
            let command = self.command(if self.traps { 3 } else { 2 });
            text.push_str(&command);
            let ends = command.ends_with('\n');
            text.push_str(match self.random.below(8) {
                _ if ends => "",
                0 => "; ",
                1 if self.traps => " & ",
                2 => " # 'rex' `rex\n",
                _ => "\n",
            });
        }
        if self.traps && self.random.one_in(3) {
            text.truncate(text.trim_end().len());
        }
        text
    }

    fn list(&mut self, depth: usize) -> String {
        let mut text = String::new();
        for number in 0..=self.random.below(2) {
            // A line with a here-document must end with a newline.
            if number > 0 && !text.ends_with('\n') {
                text.push_str(self.random.pick(if self.traps {
                    &["; ", "\n", " && ", " || ", " | ", " & ", "\n# )' }\n"]
                } else {
                    &["; ", "\n", " && ", " || ", " | "]
                }));
            }
            text.push_str(&self.command(depth));
        }
        text
    }

    /// Returns a list that a reserved word may follow.
    fn body(&mut self, depth: usize) -> String {
        let list = self.list(depth);
        if list.ends_with('\n') {
            list
        } else {
            format!("{list}{}", self.random.pick(&["; ", "\n", " ;\n"]))
        }
    }

    fn command(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.simple(0);
        }
        if self.traps {
            self.trap(depth - 1)
        } else {
            self.everyday(depth - 1)
        }
    }

    fn everyday(&mut self, depth: usize) -> String {
        match self.random.below(22) {
            0 => {
                let (condition, then) = (self.simple(0), self.body(depth));
                match self.random.below(3) {
                    0 => format!("if {condition}; then\n  {then}fi"),
                    1 => {
                        let other = self.body(depth);
                        format!("if ! {condition}; then {then}else {other}fi")
                    }
                    _ => format!("if [ -f \"$HOME/x\" ] && [ \"$x\" != y ]; then {then}fi"),
                }
            }
            1 => {
                let body = self.body(depth);
                let words = self
                    .random
                    .pick(&["a b c", "\"$@\"", "*.txt", "$(echo 1 2)", "1 2 3"]);
                format!("for f in {words}; do\n  {body}done")
            }
            2 => {
                let body = self.body(depth);
                format!("while read -r line; do {body}done < o")
            }
            3 => {
                let (one, two) = (self.list(depth), self.list(depth));
                let break_one = if one.ends_with('\n') { "" } else { " " };
                let break_two = if two.ends_with('\n') { "" } else { " " };
                format!(
                    "case \"$x\" in\n  a|b) {one}{break_one};;\n  *.txt) {two}{break_two};;\n  *) ;;\nesac"
                )
            }
            4 => {
                let name = format!("f{}", self.functions.len());
                let body = self.body(depth);
                self.functions.push(name.clone());
                let call = if self.random.one_in(2) {
                    format!("\n{name} a \"$x\"")
                } else {
                    String::new()
                };
                format!("{name}() {{\n  {body}}}{call}")
            }
            5 => self.here_document(),
            6 => {
                let program = self.program();
                let value = self.random.pick(&[
                    "$(ada x)",
                    "1",
                    "\"$(bob)\"",
                    "'$(rex)'",
                    "$((1 + 2))",
                    "\"a b\"",
                    "${y:-z}",
                ]);
                format!("x={value}\nexport Y=1\n{program} \"$x\"")
            }
            7 => {
                let (one, two) = (self.simple(0), self.simple(0));
                format!("{one} && {two} || exit 1")
            }
            8 => {
                let (one, two) = (self.simple(0), self.simple(0));
                format!("{one} 2>&1 | {two} > o")
            }
            9 => {
                let body = self.body(depth);
                format!("({body})")
            }
            10 => {
                let program = self.program();
                let option = self.random.pick(&[
                    "env A=1",
                    "nice -n 5",
                    "timeout 5",
                    "nohup",
                    "env -u B C=2",
                    "command",
                    "timeout -k 1 5s",
                    "xargs -r",
                    "exec",
                ]);
                if option == "exec" {
                    format!("({option} {program} x)")
                } else {
                    format!("{option} {program} x < o")
                }
            }
            11 => {
                let program = self.program();
                let more = self.program();
                match self.random.below(3) {
                    0 => format!("bash -c '{program} \"$1\"; {more}' _ x"),
                    1 => format!("sh -c \"{program} && {more}\""),
                    _ => format!("bash -ec '{program}'"),
                }
            }
            12 => {
                let program = self.program();
                format!("find . -name 'o*' -exec {program} {{}} \\;")
            }
            13 => "if [[ \"$x\" == a* && -n \"$y\" ]]; then\n  echo yes\nfi".to_owned(),
            14 => "n=$((n + 1))\nwhile [ \"$n\" -lt 1 ]; do n=$((n+1)); done".to_owned(),
            15 => {
                let program = self.program();
                format!("{program} \\\n  --flag \\\n  \"$x\"")
            }
            16 => {
                let program = self.program();
                format!("trap '{program}' EXIT")
            }
            _ => self.simple(depth),
        }
    }

    fn simple(&mut self, depth: usize) -> String {
        if self.traps {
            return self.odd_simple(depth);
        }
        if self.random.one_in(8) && !self.functions.is_empty() {
            let at = self.random.below(self.functions.len());
            return format!("{} x", self.functions[at]);
        }
        let mut text = self
            .random
            .pick(&["", "", "", "", "A=1 ", "A=\"$x\" "])
            .to_owned();
        text.push_str(if self.random.one_in(4) {
            self.random
                .pick(&["echo", "printf '%s\\n'", "cd .", ":", "test -f"])
        } else {
            self.program()
        });
        for _ in 0..self.random.below(4) {
            text.push(' ');
            let argument = self.random.pick(&[
                "a",
                "--flag",
                "-v",
                "\"$x\"",
                "'it is $(rex) quoted'",
                "\"a b $x\"",
                "$x",
                "x=1",
                "*.txt",
                "\"$(ada)\"",
                "$(bob -v | cyd)",
                "`dan`",
                "${x:-y}",
                "$((1+1))",
                "/tmp/x",
                "a,b",
                "~",
                "'a; rex'",
                "\"; rex\"",
                "{a,b}",
                "-",
                "--",
                "\\$x",
                "#a",
                "a#b",
                "\"it's\"",
                "\"${x}\"",
            ]);
            text.push_str(if argument == "#a" { "a" } else { argument });
        }
        if self.random.one_in(4) {
            text.push_str(self.random.pick(&[
                " > o",
                " 2>&1",
                " >> o 2>&1",
                " < o",
                " 2> o",
                " > o 2>&1",
            ]));
        }
        text
    }

    fn here_document(&mut self) -> String {
        self.delimiters += 1;
        let end = format!("E{}", self.delimiters);
        let program = if self.random.one_in(3) {
            "cat".to_owned()
        } else {
            self.program().to_owned()
        };
        let line = self.random.pick(&[
            "plain text",
            "it's \"quoted\" $x",
            "$(ada)",
            "`bob`",
            "\\$(rex)",
            "rex",
            "${x:-$(cyd)}",
            "$((1+2))",
            "a\\\\b",
            "`echo \\`dan\\``",
            ") } fi",
        ]);
        if self.random.one_in(6) {
            let inner = self.program();
            return format!("sh <<{end}\n{inner} a\n{end}\n");
        }
        match self.random.below(4) {
            0 => format!("{program} <<'{end}'\n{line}\nrex $(rex)\n{end}\n"),
            1 => format!("{program} <<-{end}\n\t{line}\n\t{end}\n"),
            _ => format!("{program} <<{end}\n{line}\n{end}\n"),
        }
    }

    /// Returns an unusual notation of a program's name.
    fn odd_name(&mut self) -> String {
        let name = self.program();
        let (first, rest) = name.split_at(1);
        match self.random.below(26) {
            0 => format!("\\{name}"),
            1 => format!("'{name}'"),
            2 => format!("{first}''{rest}"),
            3 => format!("{first}\"\"{rest}"),
            4 => format!("{first}\\\n{rest}"),
            5 => format!("\"{name}\""),
            6 => format!("\"{first}\\\n{rest}\""),
            7 => format!("$'{name}'"),
            8 => format!("$'\\x{:02x}{rest}'", first.as_bytes()[0]),
            9 => format!("$\"{name}\""),
            10 if self.hidden => format!("$(echo {name})"),
            11 if self.hidden => format!("${{q:-{name}}}"),
            12 if self.hidden => format!("{{{name},{name}}}"),
            13 if self.hidden => format!("$e {name}"),
            _ => name.to_owned(),
        }
    }

    fn odd_word(&mut self, depth: usize) -> String {
        let inner = self.program();
        match self.random.below(56) {
            0 => format!("$({inner})"),
            1 => format!("\"$({inner} \"a b\")\""),
            2 => format!("`{inner}`"),
            3 => format!("\"`{inner}`\""),
            4 => format!("`echo \\`{inner}\\``"),
            5 => format!("${{x:-$({inner})}}"),
            6 => format!("\"${{x:-$({inner})}}\""),
            7 => format!("\"${{x:-`{inner}`}}\""),
            8 => format!("$(({inner_zero}$({inner})))", inner_zero = "0+0"),
            9 => format!("<({inner})"),
            10 => format!("'$({inner})'"),
            11 => format!("\"\\$({inner})\""),
            12 => format!("\\`{inner}"),
            13 => format!("$'a\\'b$({inner})'"),
            14 => format!("${{x#'}}'}}$({inner})"),
            15 => format!("\"${{x#'}}'}}\"$({inner})"),
            16 => format!("\"${{x:-'$({inner})'}}\""),
            17 => format!("\"${{x:-\"$({inner})\"}}\""),
            18 => format!("${{x:-\"}}\"$({inner})}}"),
            19 => format!("$( ({inner}) )"),
            20 => format!("$(({inner}) )"),
            21 => format!("$(# it's )\n{inner})"),
            22 => format!("$(case x in x) {inner};; esac)"),
            23 => format!("$(case x in (x) {inner};; esac)"),
            24 => format!("$(cat <<E\n$({inner})\nE\n)"),
            25 => format!("\"$(cat <<'E'\n$(rex)'\nE\n{inner})\""),
            26 => "if".to_owned(),
            27 => "done".to_owned(),
            28 => "{".to_owned(),
            29 => "}".to_owned(),
            30 => format!("a#{inner}"),
            31 => format!("[{inner}]"),
            32 => format!("{{a,$({inner})}}"),
            33 => format!("\"a\\\"$({inner})\""),
            34 => format!("\"it's $({inner})\""),
            35 => format!("'it'\\''s'$({inner})"),
            36 => format!("${{#x}}$({inner})"),
            37 => format!("\"$(echo ')' \"$({inner})\")\""),
            38 => format!("$(echo \\) ; {inner})"),
            39 => format!("$(( 1 << 2 ))$({inner})"),
            40 => format!("$(( (1) ))$({inner})"),
            41 => format!("\"$(( 1 + 1 )) )\"$({inner})"),
            42 => format!("${{x/a/$({inner})}}"),
            43 => format!("${{x:$({inner}; echo 0)}}"),
            44 => format!(">({inner})"),
            45 => "\\\n".to_owned(),
            46 => format!("$x`{inner}`$y"),
            47 => format!("\"$'$({inner})'\""),
            48 => format!("$({}\n)", self.list(depth.min(1))),
            49 => format!("\"$({})\"", self.list(depth.min(1)).trim_end()),
            50 => format!("$(if {inner}; then {inner}; fi)"),
            51 => format!("@({inner}|x)"),
            52 => format!("$[1+$({inner})]"),
            _ => self
                .random
                .pick(&[
                    "a", "-x", "\"$x\"", "'rex'", "$x", "x=1", "\"$@\"", "*", "?", "~", "--",
                    "\"\"", "a=b", "2", "!",
                ])
                .to_owned(),
        }
    }

    fn redirection(&mut self) -> String {
        let inner = self.program();
        match self.random.below(14) {
            0 => ">o".to_owned(),
            1 => "2>&1".to_owned(),
            2 => "&>o".to_owned(),
            3 => "</dev/null".to_owned(),
            4 => format!("<<<\"$({inner})\""),
            5 => format!("> \"o$({inner})\""),
            6 => format!("< <({inner})"),
            7 => "{v}>o".to_owned(),
            8 => ">|o".to_owned(),
            9 => "<>o".to_owned(),
            10 => "3<&0".to_owned(),
            11 => format!("&> o {inner}"),
            12 => "2\\\n>o".to_owned(),
            _ => ">&2".to_owned(),
        }
    }

    fn odd_simple(&mut self, depth: usize) -> String {
        let mut text = String::new();
        if self.random.one_in(6) {
            let inner = self.program();
            let _ = match self.random.below(9) {
                0 => write!(text, "x=$({inner}) "),
                1 => write!(text, "x=`{inner}` y=1 "),
                2 => write!(text, "a=(1 $({inner}) '2)' # )\n) "),
                3 => write!(text, "a[$({inner}; echo 0)]=1 "),
                4 => write!(text, "x+=\"$({inner})\" "),
                5 => write!(text, "x={{$({inner}) "),
                6 => write!(text, "PATH=$PATH:$({inner}) "),
                7 => write!(text, "x=~$({inner}) "),
                _ => write!(text, "x='{inner}' "),
            };
        }
        if self.random.one_in(12) {
            text.push_str(&self.redirection());
            text.push(' ');
        }
        if self.random.one_in(6) {
            text.push_str(&self.wrapper());
            text.push(' ');
        }
        if self.random.one_in(7) {
            text.push_str(
                self.random
                    .pick(&["echo", ":", "true", "printf %s", "cat", "false"]),
            );
        } else {
            text.push_str(&self.odd_name());
        }
        for _ in 0..self.random.below(3) {
            text.push_str(self.random.pick(&[" ", " ", " ", "  ", "\t", " \\\n"]));
            text.push_str(&self.odd_word(depth));
        }
        if self.random.one_in(6) {
            text.push(' ');
            text.push_str(&self.redirection());
        }
        text
    }

    /// Returns a command that executes its arguments.
    fn wrapper(&mut self) -> String {
        let inner = self.program();
        match self.random.below(40) {
            0 => "env".to_owned(),
            1 => "env -i PATH=\"$PATH\"".to_owned(),
            2 => "env -u x A=1 B=\"$x\"".to_owned(),
            3 => "env --unset=x --".to_owned(),
            4 => "env -S 'A=1 env'".to_owned(),
            5 => "env -".to_owned(),
            6 => "nice".to_owned(),
            7 => "nice -n 3".to_owned(),
            8 => "nice -5".to_owned(),
            9 => "nice --adjustment=1".to_owned(),
            10 => "nohup".to_owned(),
            11 => "timeout 5".to_owned(),
            12 => "timeout -s KILL -k 1 5".to_owned(),
            13 => "timeout --sig=KILL 5s".to_owned(),
            14 => "setsid -w".to_owned(),
            15 => "stdbuf -oL -e0".to_owned(),
            16 => "stdbuf --output=L".to_owned(),
            17 => "command".to_owned(),
            18 => "command -p -- env".to_owned(),
            19 => "builtin command".to_owned(),
            20 => "time".to_owned(),
            21 => "! time -p".to_owned(),
            22 => "eval".to_owned(),
            23 => "eval 'env'".to_owned(),
            24 => "ionice -c 3".to_owned(),
            25 => "echo a | xargs".to_owned(),
            26 => "echo a | xargs -n 1 -I{}".to_owned(),
            27 => "echo a | xargs -I% env X=%".to_owned(),
            28 if self.hidden => format!("echo {inner} | xargs env"),
            29 => "echo a | xargs -r -P 2 --".to_owned(),
            30 => "flock o".to_owned(),
            31 => "env \"X=$x\"".to_owned(),
            32 if self.hidden => "env $x".to_owned(),
            33 => "timeout \"5\"".to_owned(),
            34 => "env --split-string='A=1 nice'".to_owned(),
            35 => "taskset 1".to_owned(),
            36 => "env env env".to_owned(),
            37 => "/usr/bin/env".to_owned(),
            38 => "exec -a foo".to_owned(),
            _ => "exec".to_owned(),
        }
    }

    /// Returns `text` in one kind of quotes.
    fn quoted(&mut self, text: &str) -> String {
        match self.random.below(3) {
            0 => format!("'{}'", text.replace('\'', "'\\''")),
            1 => format!(
                "\"{}\"",
                text.replace('\\', "\\\\")
                    .replace('"', "\\\"")
                    .replace('$', "\\$")
                    .replace('`', "\\`")
            ),
            _ => {
                let mut out = String::new();
                for character in text.chars() {
                    if character == '\n' {
                        out.push_str("'\n'");
                    } else {
                        if !character.is_ascii_alphanumeric() {
                            out.push('\\');
                        }
                        out.push(character);
                    }
                }
                out
            }
        }
    }

    /// Returns a construct that misleads a parser that knows the grammar, but not every behavior of the shells and the
    /// programs.
    fn sly(&mut self) -> String {
        let (inner, other) = (self.program(), self.program());
        let wrapper = self.random.pick(&[
            "env", "nice", "nohup", "timeout", "xargs", "command", "setsid",
        ]);
        let value = self
            .random
            .pick(&[
                "'b[$({})]'",
                "\"b[\\$({})]\"",
                "b[\\$\\({}\\)]",
                "'b[`{}`]'",
            ])
            .replace("{}", inner);
        let evaluate = self.random.pick(&[
            "((x))",
            "echo $((x))",
            "[[ x -eq 1 ]]",
            "echo ${y:x}",
            "let x",
            "a[x]=1",
            "echo ${a[x]}",
            "declare -i n=x",
            "for ((;x;)); do :; done",
            "x=1; a=(1 2); echo ${a[@]:x}",
            "exec {a[x]}>o",
            "test -v \"$x\"",
            "unset \"$x\"",
            "printf -v \"$x\" 1",
            "read \"$x\" < o",
            "echo ${!x}",
            "o=-v; test $o \"$x\"",
            "((y=1?x:2))",
        ]);
        match self.random.below(if self.calls { 37 } else { 28 }) {
            0 => format!("x=({value}); {evaluate}"),
            1 => format!("x=${{y:-{value}}}; {evaluate}"),
            2 => format!(": ${{x:={value}}}; {evaluate}"),
            3 => format!("x={value}; {evaluate}"),
            4 => format!(
                "x='$({inner})'; {} \"a[$x]\"",
                self.random
                    .pick(&["let", "test -v", "unset", "declare", "printf -v"])
            ),
            5 => {
                let options = self.random.pick(&[
                    "-n1 -I%",
                    "-I% -n1",
                    "-I% -n 2",
                    "-i -L1",
                    "-I{} -l",
                    "--rep=% --max-a 2",
                    "-tI%",
                    "-rI %",
                ]);
                format!(
                    "echo {inner} | xargs {options} {}",
                    self.random.pick(&["env", "nice", "env %", "echo"])
                )
            }
            6 => {
                let test = self.random.pick(&[
                    "-fprintf -exec ada -exec",
                    "-newermt -exec -exec",
                    "-e[x]ec",
                    "-ex*",
                    "-?xec",
                    "-name -ok -exec",
                    "-fprint -ok -exec",
                ]);
                format!(
                    "> ./-exec; find . -maxdepth 0 {test} {inner} \\; {}",
                    self.random.pick(&["", "-exec nay \\;"])
                )
            }
            7 => {
                let option = self.random.pick(&[
                    "--upload-pack=",
                    "--u=",
                    "--upload-pack ",
                    "--exec=",
                    "--ex=",
                    "-u",
                    "-u ",
                    "-qu ",
                    "-qu",
                ]);
                format!("git ls-remote {option}{inner} .")
            }
            8 => {
                let option = self.random.pick(&[
                    "--upload-pack=",
                    "--u=",
                    "--up ",
                    "-u",
                    "-qu",
                    "-qu ",
                    "-nqu ",
                    "-ccore.sshCommand=",
                    "-qccore.sshCommand=",
                    "--con=core.sshCommand=",
                    "-c core.sshCommand=",
                ]);
                format!(
                    "git clone {option}{inner} {} zz",
                    self.random.pick(&[".", "x:y"])
                )
            }
            9 => {
                let call = self.random.pick(&[
                    "grep -nO{} a",
                    "grep -O{} a",
                    "grep --open={} a",
                    "grep --op={} a",
                    "-c alias.x='grep -O{} a' x",
                    "-c alias.x=grep x -O{} a",
                ]);
                format!(
                    "git init -q .; echo a > a; git add a; git {}",
                    call.replace("{}", inner)
                )
            }
            10 => {
                let setting = self.random.pick(&[
                    "alias.x=!{} ",
                    "alias.x='!{}'",
                    "core.fsmonitor={}",
                    "core.pager={}",
                    "core.sshCommand={}",
                ]);
                format!(
                    "git -c {} {}",
                    setting.replace("{}", inner),
                    self.random.pick(&["x", "status", "ls-remote x:y"])
                )
            }
            11 => {
                let more = self
                    .random
                    .pick(&["0<&3", "0>&3", "<&3", "2>o 0>&3", "3>&0", "0<>f"]);
                format!(
                    "echo '{inner} a' > f\n{} 3<f <<E {more}\n{other}\nE\n",
                    self.random.pick(&["bash", "sh", "dash"])
                )
            }
            12 => {
                let reads = self.random.pick(&[
                    "read x",
                    "r''ead x",
                    "select x in a; do break; done",
                    "he\\ad -n1",
                    "cat",
                    ":",
                    "mapfile x",
                ]);
                format!("bash <<'E'\n{reads}\n: '\n{inner} #'\nE\n")
            }
            13 => {
                let reads = self.random.pick(&[
                    "read x",
                    "echo x",
                    "head -c 5",
                    ":",
                    "if :; then {other}; fi",
                ]);
                format!(
                    "bash <<'E'\n{}\n{inner} a\nE\n",
                    reads.replace("{other}", other)
                )
            }
            14 => {
                let call = self.random.pick(&[
                    "setarch -R {} a",
                    "setarch x86_64 {} a",
                    "setarch x86_64 -R {}",
                    "linux64 {}",
                    "linux64 -R {} a",
                ]);
                call.replace("{}", inner)
            }
            15 => format!(
                "y='$({inner})'; echo \"${{y@{}P}}\"",
                self.random.pick(&["", "\\\n"])
            ),
            16 => format!(
                "set -- . {inner}; x={}; env -C\"${{!x}}\" {other}",
                self.random.pick(&["@", "1"])
            ),
            17 => format!("a=(. {inner}); declare -n r='a[@]'; env -C\"$r\" {other}"),
            18 => {
                let odd = self.random.pick(&[
                    "$(case x in x) ;; esac))",
                    "$(case x in (x) ;; esac) ",
                    "$(cat <<X\n)\nX\n))",
                    "$(echo a) + 1",
                    "`echo ')'` ",
                    "${x#(}",
                ]);
                let place = self.random.pick(&[
                    "x={}",
                    "echo {}",
                    "echo \"{}\"",
                    "a[{}]=1",
                    "cat <<E\n{}\nE\n",
                ]);
                place.replace("{}", &format!("$(({inner} {odd}))"))
            }
            19 => {
                let declares = self.random.pick(&[
                    "declare -a 'x={}'",
                    "readonly -a 'x={}'",
                    "export -a 'x={}'",
                    "typeset -a x+='{}'",
                    "x=(); declare 'x={}'",
                    "declare -a x; declare x='{}'",
                    "v='{}'; declare -a x=\"$v\"",
                    "declare -a x; f() { declare -g x=\"$1\"; }; f '{}'",
                    "x[1]=a; declare x='{}'",
                    "mapfile x < /dev/null; export x='{}'",
                ]);
                declares.replace(
                    "{}",
                    &format!(
                        "({})",
                        self.random
                            .pick(&["$({})", "`{}`", "[0]=$({})"])
                            .replace("{}", inner)
                    ),
                )
            }
            20 => {
                let assigns = self.random.pick(&[
                    "RANDOM={}",
                    "OPTIND={}",
                    "HISTCMD={}",
                    "for RANDOM in {}; do :; done",
                    "SRANDOM+={}",
                ]);
                assigns.replace("{}", &value)
            }
            21 => {
                let find = self.random.pick(&[
                    "find . -maxdepth 0 -exec echo \"${1:-;}\" -exec {} \\;",
                    "x='{{}}'; find . -maxdepth 0 -exec echo \"$x\" + -exec {} \\;",
                    "> ';'; find . -maxdepth 0 -exec echo ? -exec {} \\;",
                    "x=-exec y={}; find . -maxdepth 0 \"$x\" \"$y\" \\;",
                    "> f; find {f*,-exec,{}} \\;",
                ]);
                find.replace("{}", inner)
                    .replace(&format!("{{{inner}}}"), "{}")
            }
            22 => format!(
                "> {inner}; {}",
                self.random.pick(&[
                    &format!("git -c alias.x='!{wrapper}' x {inner}"),
                    &format!("git -c core.sshCommand={wrapper} ls-remote {inner}:x"),
                    &format!("git clone -u {wrapper} {inner}:x zz"),
                    &format!("mapfile -t -c1 -C {wrapper} a <<< {inner}"),
                ])
            ),
            23 => format!(
                "coproc {inner} {}",
                self.random
                    .pick(&["time a", "time", "! a", "if a", "a; wait"])
            ),
            24 => format!(
                "{} -{}c + {inner}",
                self.random.pick(&["sh", "bash", "dash"]),
                self.random.pick(&["", "e", "u"])
            ),
            25 => format!(
                "{}[[ -f / && {inner} ]]; {other}",
                self.random.pick(&["! ", "if :; then :; fi; ! ", ""])
            ),
            26 => {
                format!(
                    "k='$({inner})'; a=({})",
                    self.random
                        .pick(&["[b[$k]]=1", "[$k]=1", "[b[${k}]]=x", "\"$k\""])
                )
            }
            27 => {
                // Inserts line continuations at any position, including invalid positions.
                let mut text = if self.random.one_in(2) {
                    self.trap(1)
                } else {
                    self.everyday(2)
                };
                for _ in 0..=self.random.below(5) {
                    let mut at = self.random.below(text.len() + 1);
                    while !text.is_char_boundary(at) {
                        at -= 1;
                    }
                    text.insert_str(at, "\\\n");
                }
                text
            }
            28 => {
                let name = self
                    .random
                    .pick(&["'{}'", "\"{}\"", "\\{}", "{}", "$'{}'", "{}''"])
                    .replace("{}", inner);
                format!("{name}() {{ {other}; }}\n{inner} x")
            }
            29 => format!(
                "g() {{ {} {inner}; }}\n{inner}() {{ :; }}\n{}\n{inner} x",
                self.random.pick(&["unset -f", "unset", ":"]),
                self.random.pick(&["g", ":"])
            ),
            30 => format!(
                "{wrapper}() {{ :; }}\n{}\n{wrapper} {inner} a",
                self.random
                    .pick(&[format!("unset -f {wrapper}").as_str(), ":", "unset -f x"])
            ),
            31 => format!(
                "u() {{ unset -f {wrapper}; }}\n{wrapper}() {{ :; }}\nu\n{wrapper} 5 {inner} a"
            ),
            32 => format!(
                "{}alias {inner}={other}\n{inner}() {{ :; }}\nunalias {inner}\n{inner} x",
                self.random.pick(&["shopt -s expand_aliases\n", ""])
            ),
            33 => format!(
                "command_not_found_handle() {{ {inner} x; }}\n{}\n{inner}() {{ :; }}",
                self.random.pick(&["nosuch", ":"])
            ),
            34 => format!(
                "{inner}() {{ {other}; }}\n{inner} a\n{} {inner}",
                self.random
                    .pick(&["env", "command", "eval", "exec", "echo a | xargs"])
            ),
            35 => format!(
                "{wrapper}() {{ :; }}\nbuiltin {} {inner}",
                self.random.pick(&["command", "eval", "exec", "jobs -x"])
            ),
            _ => format!(
                "trap 'unset -f {inner}' {}\n{inner}() {{ :; }}\nfalse\n{inner}",
                self.random.pick(&["ERR", "DEBUG", "EXIT"])
            ),
        }
    }

    /// Returns a definition that an error may skip, and a call that the definition would hide. Or returns a text that
    /// the script composes and evaluates.
    fn error(&mut self) -> String {
        let (inner, other) = (self.program(), self.program());
        if self.random.one_in(4) {
            return self.pieces(inner);
        }
        let error = self.failing(other);
        let wrapper = self
            .random
            .pick(&["env", "nice", "nohup", "timeout 5", "setsid", "command"]);
        let (name, call) = match self.random.below(3) {
            0 => (
                wrapper.split(' ').next().unwrap_or_default(),
                format!("{wrapper} {inner} x"),
            ),
            1 => (inner, format!("{inner} x")),
            _ => (inner, format!("g() {{ {inner} x; }}\ng")),
        };
        let definition = match self.random.below(3) {
            0 => format!("function {name} {{ :; }}"),
            1 => format!("{name}() {{ {other}; }}"),
            _ => format!("{name}() {{\n  :\n}}"),
        };
        let between = self.random.pick(&[
            "; ",
            "; ",
            "\n",
            "; :; ",
            "; h() { :; }; ",
            " && ",
            " || ",
            " & ",
        ]);
        let dropped = match self.random.below(9) {
            0 => format!("{{\n{error}\n{definition}\n}}"),
            1 => format!("{{ {error}{between}{definition}; }}"),
            2 => format!("if {error}; then :; fi{between}{definition}"),
            3 => format!("f() {{ {error}; }}; f{between}{definition}"),
            4 => format!("for q in 1; do\n{error}\ndone{between}{definition}"),
            5 => format!(": \\\n; {error}{between}{definition}"),
            6 => format!("{definition}\n{error}{between}unset -f {name}"),
            _ => format!("{error}{between}{definition}"),
        };
        format!("{dropped}\n{call}")
    }

    /// Returns a command that fails in an expansion or an assignment.
    fn failing(&mut self, inner: &str) -> String {
        let value = self.random.pick(&[
            "$((1/0))",
            "$((1%0))",
            "$((08))",
            "$((9#9))",
            "$((x=))",
            "$((1+))",
            "$((2**-1))",
            "$((1=2))",
            "$((64#!))",
            "$(( 0x ))",
            "$((1 2))",
            "${x:0:-9}",
            "${a[-5]}",
            "${a[1/0]}",
            "${a[08]}",
            "${!q}",
            "${!q!}",
            "${#q-x}",
            "${x:1/0}",
            "${x:08}",
            "${x?gone}",
            "${x:?gone}",
            "${1?}",
            "${q[@]:0:-1}",
            "${x@Z}",
        ]);
        let place = self.random.pick(&[
            "echo {}",
            "echo \"{}\"",
            ": {}",
            "q={}",
            "q={} :",
            "q[{}]=1",
            "q=({})",
            "for q in {}; do :; done",
            "case {} in x) ;; esac",
            "case x in {}) ;; esac",
            "echo > {}",
            "cat <<< {}",
            "cat <<E\n{}\nE",
            "[[ {} ]]",
            "[[ x == {} ]]",
            "export q={}",
            "declare q={}",
            "readonly r={}",
            "(( {} ))",
            "echo ~{}",
            "{} x",
            "echo $(echo {})",
            "echo a{}b | cat",
            "{ echo {}; }",
            "while echo {}; do break; done",
        ]);
        let whole = self.random.pick(&[
            "UID=5",
            "PPID=5",
            "EUID=1",
            "UID+=5",
            "BASHOPTS=x",
            "SHELLOPTS=x",
            "readonly q=1; q=2",
            "readonly q=1; q=2 {inner}",
            "readonly q=1; for q in 1; do :; done",
            "readonly q=1; read q < o",
            "readonly q=1; unset q",
            "readonly q=1; : ${q:=2} ${r:=${q=3}}",
            "readonly q; : ${q=1}",
            "typeset -r q=1; q+=2",
            "declare -i n; n=08",
            "declare -i n; n=1/0",
            "a[-5]=1",
            "a[1/0]=1",
            "a[08]=1",
            "declare -A m; m[]=1",
            "shopt -s failglob; echo *nope*",
            "shopt -s failglob; for q in *nope*; do :; done",
            "shopt -s failglob; q=(*nope*)",
            "shopt -s failglob; *nope*",
            "set -u; echo $nope",
            "set -u; q=$nope",
            "set -e; false",
            "((1/0))",
            "let 1/0",
            "let x=",
            "export 1=2",
            "readonly 1=2",
            "unset 1x",
            "local q=1",
            "return 1",
            "break",
            "shift 5",
            "cd /nonexistent",
            "exec 5< /nonexistent",
            ": < /nonexistent",
            "eval '{inner} )'",
            "eval 'q=$((1/0)); {inner}'",
            ". ./nonexistent",
            "trap '{inner}' EXIT; echo $((1/0))",
            "declare -n q=q; q=1",
            "declare -n q=1x; q=1",
        ]);
        let text = if self.random.one_in(2) {
            place.replace("{}", value)
        } else {
            whole.to_owned()
        };
        text.replace("{inner}", inner)
    }

    /// Returns a text that the script composes from parts and evaluates.
    fn pieces(&mut self, inner: &str) -> String {
        let parts = self.random.pick(&[
            "x='b['; x+='$({})]'",
            "y='b['; x=\"$y\"'$({})]'",
            "y='$({})'; x=\"b[$y]\"",
            "y='`{}`'; x=b[$y]",
            "x='b($({}))'; x=${x/(/[}; x=${x/%)/]}",
            "x='b<$({})>'; x=${x/</[}; x=${x/>/]}",
            "printf -v x 'b%s' '[$({})]'",
            "printf -v x 'b[%s]' '$({})'",
            "read -r y <<'E'\n$({})]\nE\nx='b['$y",
            "set -- 'b[' '$({})]'; x=$1$2",
            "y=('b[' '$({})]'); x=${y[0]}${y[1]}",
            "f() { x=$1$2; }; f 'b[' '$({})]'",
            "x=$(echo 'b['; echo '$({})]'); x=${x/$'\\n'}",
            "for y in '$({})]'; do x=\"b[$y\"; done",
            ": ${y:='$({})'}; x=\"b[$y]\"",
            "x='b[q'; x=${x/q/'$({})]'}",
        ]);
        let evaluate = self.random.pick(&[
            "((x))",
            "echo $((x))",
            "[[ x -eq 1 ]]",
            "[[ $x -eq 1 ]]",
            "echo ${y:x}",
            "let x",
            "declare -i n=x",
            "declare -i n; n=$x",
            "test -v \"$x\"",
            "unset \"$x\"",
            "printf -v \"$x\" 1",
            "read \"$x\" < o",
            "echo ${!x}",
            "echo ${a[x]}",
            "a[x]=1",
            "RANDOM=$x",
            "declare \"$x=1\"",
        ]);
        format!("{}\n{evaluate}", parts.replace("{}", inner))
    }

    fn trap(&mut self, depth: usize) -> String {
        let inner = self.program();
        match self.random.below(68) {
            0 => format!("if {}then {}fi", self.body(depth), self.body(depth)),
            1 => format!(
                "if {}then {}else {}fi",
                self.body(depth),
                self.body(depth),
                self.body(depth)
            ),
            2 => format!(
                "if nay; then {}elif {}then {}fi",
                self.body(depth),
                self.body(depth),
                self.body(depth)
            ),
            3 => format!("while nay {}; do {}done", inner, self.body(depth)),
            4 => format!("for i in $({inner}) 1; do {}done", self.body(depth)),
            5 => format!("for i in 1\ndo\n{}done > o", self.body(depth)),
            6 => format!("for i do {}done", self.body(depth)),
            7 => format!(
                "for ((i=0; i<1$({inner}); i++)); do {}done",
                self.body(depth)
            ),
            8 => format!("for i in 1; {{ {}}}", self.body(depth)),
            9 => format!("case a in a) {}esac", self.body(depth)),
            10 => format!(
                "case $({inner}) in\n(b|'c)') rex ;; # c)\n\"\") {};;\nesac",
                self.body(depth)
            ),
            11 => format!("case a in a) {inner} ;& b) {};; esac", self.body(depth)),
            12 => format!("case a in $({inner})a) {inner} ;;& *) {inner};; esac"),
            13 => format!("{{ {}}}", self.body(depth)),
            14 => format!("( {})", self.body(depth)),
            15 => format!("(({inner}) )"),
            16 => format!("( ({inner}))"),
            17 => format!("(({inner}))"),
            18 => format!("((1+$({inner})))"),
            19 => format!("[[ a == $({inner}) ]]"),
            20 => format!("[[ a == a || $({inner}) ]] && {inner}"),
            21 => format!("[[ ab =~ ^(a|$({inner}))b?$ ]] ; {inner}"),
            22 => format!("[[ -n a && ( x < y || ! -f $({inner}) ) ]]"),
            23..=26 => {
                self.delimiters += 1;
                let name = format!("f{}", self.delimiters);
                let body = self.body(depth);
                let call = if self.calls { name.as_str() } else { inner };
                match self.random.below(4) {
                    0 => format!("{name}() {{ {body}}}\n{call}"),
                    1 => format!("function {name} {{ {body}}}\n{call}"),
                    2 => format!("function {name}() (\n {body})\n{call}"),
                    _ => format!("{name} ( ) {{ {body}}} > o; {call}"),
                }
            }
            27 => format!("{inner} | {} | {inner}", self.simple(depth)),
            28 => format!("! {}", self.simple(depth)),
            29 => format!("time {}", self.simple(depth)),
            30 => format!("coproc {inner} | tom"),
            31 => format!("coproc C {{ {}}}", self.body(depth)),
            32 => {
                let list = self.list(depth.min(1));
                format!("eval {}", self.quoted(&list))
            }
            33 => {
                let list = self.list(depth.min(1));
                let shell = self.random.pick(&[
                    "sh -c",
                    "bash -c",
                    "bash -ec",
                    "sh -e -c",
                    "bash --norc -c",
                    "bash -o pipefail -c",
                    "dash -c",
                    "bash -c --",
                    "env bash -xc",
                    "sh -cx",
                ]);
                format!("{shell} {}", self.quoted(&list))
            }
            34 => {
                let list = self.list(depth.min(1));
                format!("trap {} EXIT", self.quoted(&list))
            }
            35 => self.here_document(),
            36 => format!("cat <<E\n$({})\nE\n", self.list(depth.min(1))),
            37 => format!("cat <<A; {inner} <<'B'\n$({inner})'\"\nA\n$(rex)'\nB\n"),
            38 => format!("cat <<\"E\" | {inner}\n$(rex) `rex` \\\nE\n"),
            39 => format!("cat <<\\E && {inner}\n$(rex\nE\n"),
            40 => format!("{{ cat <<E; {inner}; }}\n`{inner}`\nE\n"),
            41 => format!("( cat <<E )\n${{x:-$({inner})}}\nE\n{inner}"),
            42 => format!("cat <<-E\n\t\\$({inner}) $({inner})\n\tE\n"),
            43 => {
                self.delimiters += 1;
                let (one, two) = (self.odd_name(), self.program());
                let name = if one.contains(['$', '`', '\\']) {
                    two
                } else {
                    &one
                };
                format!("sh <<S{0}\n{name} a && {two}\nS{0}\n", self.delimiters)
            }
            44 => format!("bash <<< '{inner} x'"),
            45 => format!("alias k='{inner} a'\nk b"),
            46 if self.hidden => format!("alias k='env '\nk {inner}"),
            47 if self.hidden => format!("alias k=\"echo '\"\nk; {inner} '"),
            48 => format!("shopt -s expand_aliases\nalias k={inner}\nk"),
            49 => format!("select i in a; do {}done < o", self.body(depth)),
            50 if self.hidden => format!("x={inner}; $x"),
            51 if self.hidden => format!("set -- {inner}; \"$@\""),
            52 if self.hidden => format!("x='a[$({inner})]'; echo $((x))"),
            53 if self.hidden => format!("echo '{inner}' | sh"),
            54 => format!("find . -maxdepth 0 -exec {inner} {{}} \\; -exec sh -c '{inner}' \\;"),
            55 => format!("find . -maxdepth 0 \\( -name x -o -exec {inner} {{}} + \\)"),
            56 => format!("mapfile -C '{inner};:' -c 1 < <(echo a)"),
            57 if self.hidden => format!("printf '%s\\n' '{inner} a' > o.sh; . ./o.sh"),
            58 if self.calls => format!("unset -f f; f() {{ :; }}; f; {inner}"),
            59 => {
                format!("export x=$({inner}) y=`{inner}`; declare -a z=($({inner})); readonly w=1")
            }
            60 => format!("{inner} \"$(\n{}\n)\"", self.list(depth.min(1))),
            61 if self.hidden => format!("hash -p \"$(command -v {inner})\" zed; zed"),
            63..=66 if self.hidden => self.sly(),
            62 if self.calls => format!("until {inner} || true; do :; done"),
            _ => self.odd_simple(depth),
        }
    }
}
