//! Parses the fenced blocks of a page, and checks whether real output has the form of the shown output.
//!
//! `…` in a line or a string matches any text. A line that is only `…` matches any number of lines.

pub(crate) mod exchange;
pub(crate) mod walk;

use std::path::Path;

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// The comments about a PostgreSQL server of the test.
pub(crate) const SERVERS: [&str; 3] = ["database server", "replica", "no database server"];

/// A fenced block, or a comment for the test: `<!-- after PAGE -->`, `<!-- run: COMMAND -->`, or one of [`SERVERS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// `PAGE:LINE` of the fence.
    pub(crate) here: String,
    /// The line of the fence.
    pub(crate) line: usize,
    /// The word after the fence. For a comment, `after`, `run` or `server`.
    pub(crate) language: String,
    /// The path from `file=PATH` after the fence.
    pub(crate) file: Option<String>,
    /// The reason from `not run here: REASON` after the fence. The tests do not run a block with a reason.
    pub(crate) not_run: Option<String>,
    /// The content of the block.
    pub(crate) text: String,
}

impl Block {
    fn of_fence(page: &str, line: usize, info: &str) -> Self {
        let (info, not_run) = match info.split_once("not run here: ") {
            Some((info, reason)) => (info, Some(reason.trim().to_owned())),
            None => (info, None),
        };
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default().to_owned();
        let file = words
            .next()
            .and_then(|word| word.strip_prefix("file="))
            .map(str::to_owned);
        Self {
            here: format!("{page}:{line}"),
            line,
            language,
            file,
            not_run,
            text: String::new(),
        }
    }

    fn of_comment(page: &str, line: usize, text: &str) -> Option<Self> {
        let inside = text.trim().strip_prefix("<!-- ")?.strip_suffix(" -->")?;
        let (language, text) = match inside.strip_prefix("run: ") {
            Some(command) => ("run", format!("$ {command}\n")),
            None if SERVERS.contains(&inside) => ("server", inside.to_owned()),
            None => ("after", inside.strip_prefix("after ")?.to_owned()),
        };
        let mut block = Self::of_fence(page, line, language);
        block.text = text;
        Some(block)
    }

    /// Whether the block contains commands for the reader.
    pub(crate) fn is_command(&self) -> bool {
        ["sh", "console", "http"].contains(&self.language.as_str())
    }
}

/// Returns all fenced blocks of a page, and its comments for the test.
pub(crate) fn blocks(page: &str, document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(String, Block)> = None;
    for (number, line) in document.lines().enumerate() {
        let ticks: String = line.chars().take_while(|c| *c == '`').collect();
        match open.as_mut() {
            None if ticks.len() >= 3 => {
                open = Some((
                    ticks.clone(),
                    Block::of_fence(page, number + 1, &line[ticks.len()..]),
                ));
            }
            None => found.extend(Block::of_comment(page, number + 1, line)),
            Some((fence, _)) if line == *fence => found.extend(open.take().map(|(_, block)| block)),
            Some((_, block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{page}: a fence is never closed: {open:?}");
    found
}

/// A command of a `console` block, with its shown output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The text after the prompt.
    pub(crate) command: String,
    /// The exit code from `# exits N` after the command, or 0.
    pub(crate) exits: i32,
    /// The lines after the command.
    pub(crate) output: Vec<String>,
}

/// Returns the commands of a `console` block.
pub(crate) fn commands(block: &Block) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let exits = command
                .split_once("# exits ")
                .map_or(0, |(_, code)| code.trim().parse().expect("a code"));
            found.push(Shown {
                command: command.to_owned(),
                exits,
                output: Vec::new(),
            });
        } else {
            let last = found
                .last_mut()
                .unwrap_or_else(|| panic!("{}: output without `$ `", block.here));
            last.output.push(line.to_owned());
        }
    }
    found
}

/// Returns a command without the comment at its end.
pub(crate) fn bare(command: &str) -> &str {
    command
        .split("  #")
        .next()
        .unwrap_or_default()
        .split("    #")
        .next()
        .unwrap_or_default()
        .trim()
}

/// Whether a real line has the form of a shown line.
pub(crate) fn line_fits(shown: &str, real: &str) -> bool {
    let pieces: Vec<&str> = shown.split('…').collect();
    let [first, middle @ .., last] = pieces.as_slice() else {
        return shown == real;
    };
    let Some(mut rest) = real.strip_prefix(first) else {
        return false;
    };
    for piece in middle {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Whether real lines have the form of shown lines.
pub(crate) fn lines_fit(shown: &[String], real: &[String]) -> bool {
    match shown {
        [] => real.is_empty(),
        [any, rest @ ..] if any == "…" => {
            (0..=real.len()).any(|skip| lines_fit(rest, &real[skip..]))
        }
        [line, rest @ ..] => {
            real.first().is_some_and(|first| line_fits(line, first)) && lines_fit(rest, &real[1..])
        }
    }
}

/// Fields with numbers that differ between runs or hosts.
const MEASURED: [&str; 9] = [
    "bytes",
    "recorded",
    "index",
    "duration_ms",
    "cpu_ms",
    "memory_peak_bytes",
    "abi",
    "rules",
    "programs/listed",
];

/// Adds to `found` the differences in form between a shown and a real document. Both must have the same members.
pub(crate) fn differences(shown: &Value, real: &Value, at: &str, found: &mut Vec<String>) {
    match (shown, real) {
        (Value::Object(shown), Value::Object(real)) => {
            for (name, value) in real {
                match shown.get(name) {
                    Some(expected) => differences(expected, value, &format!("{at}/{name}"), found),
                    None => found.push(format!("{at}/{name} is not shown: {value}")),
                }
            }
            found.extend(
                shown
                    .keys()
                    .filter(|name| !real.contains_key(*name))
                    .map(|n| format!("{at}/{n} is not there")),
            );
        }
        // A loop in a step starts programs as often as it has time, so a busy host shows other counts.
        (Value::Array(shown), Value::Array(real)) if at.ends_with("/programs/started/paths") => {
            let is_shown =
                |entry: &&Value| shown.iter().any(|known| known["path"] == entry["path"]);
            let unknown = real.iter().filter(|entry| !is_shown(entry));
            found.extend(unknown.map(|entry| format!("{at}: {entry} is not shown")));
        }
        // A page shows a few entries of a list of programs.
        (Value::Array(shown), Value::Array(real)) if at.ends_with("/programs") => {
            let absent = shown.iter().filter(|entry| !real.contains(entry));
            found.extend(absent.map(|entry| format!("{at}: {entry} is not there")));
        }
        (Value::Array(shown), Value::Array(real)) if shown.len() == real.len() => {
            for (place, (shown, real)) in shown.iter().zip(real).enumerate() {
                differences(shown, real, &format!("{at}/{place}"), found);
            }
        }
        (Value::String(shown), Value::String(real)) => {
            let fits = line_fits(shown, real) || (is_time(shown) && is_time(real));
            if !fits {
                found.push(format!("{at}: shown {shown:?}, really {real:?}"));
            }
        }
        (Value::Number(_), Value::Number(_))
            if MEASURED
                .iter()
                .any(|name| at.ends_with(&format!("/{name}"))) => {}
        (shown, real) if shown == real => {}
        (shown, real) => found.push(format!("{at}: shown {shown}, really {real}")),
    }
}

fn is_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00Z";
    text.len() == form.len()
        && text
            .chars()
            .zip(form.chars())
            .all(|(c, f)| if f == '0' { c.is_ascii_digit() } else { c == f })
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

pub(crate) fn must_fit(shown: &Value, real: &Value, here: &str) {
    let mut found = Vec::new();
    differences(shown, real, "", &mut found);
    assert!(found.is_empty(), "{here}:\n{}", found.join("\n"));
}
