//! How the program talks: data on the standard output, talk on the standard error, colour only on a terminal.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::{Screen, Shown};
use crate::crossing::live::StreamName;

/// Where and how to talk.
#[derive(Debug, Clone)]
pub struct Talk {
    /// JSON for programs.
    pub json: bool,
    colour: bool,
    width: usize,
    out_is_terminal: bool,
    err_is_terminal: bool,
}

/// The width where there is no terminal to ask.
const WIDTH: usize = 100;

impl Talk {
    /// For the standard streams of this process.
    #[must_use]
    pub fn new(json: bool) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        Self {
            json,
            colour: out_is_terminal && !plain,
            width: if width == 0 { WIDTH } else { width },
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Whether the standard output is a terminal, which text from outside could attack.
    #[must_use]
    pub const fn out_is_terminal(&self) -> bool {
        self.out_is_terminal
    }

    /// Whether the standard error is a terminal.
    #[must_use]
    pub const fn err_is_terminal(&self) -> bool {
        self.err_is_terminal
    }

    /// How many columns a line may have.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Prints a screen.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn show(&self, screen: &Screen) -> Result<(), Failure> {
        self.put(screen.paint(self.width, self.colour).as_bytes())
    }

    /// Prints a long screen: at a terminal through `$PAGER`, where it names one.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn page(&self, screen: &Screen) -> Result<(), Failure> {
        let pager = std::env::var_os("PAGER").filter(|pager| !pager.is_empty() && self.out_is_terminal);
        let Some(pager) = pager else { return self.show(screen) };
        // As git does: the user's own command line. Without colours, which not every pager passes on.
        let child = Command::new("/bin/sh").arg("-c").arg(pager).stdin(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return self.show(screen) };
        if let Some(mut input) = child.stdin.take() {
            // A reader who leaves the pager before the end has seen enough.
            let _ = input.write_all(screen.paint(self.width, false).as_bytes());
        }
        child.wait()?;
        Ok(())
    }

    /// Prints a screen whose lines are wrapped on a terminal only: in a log or a report a line is one thing, and a digest
    /// can be searched for.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn show_lines(&self, screen: &Screen) -> Result<(), Failure> {
        let width = if self.out_is_terminal { self.width } else { usize::MAX };
        self.put(screen.paint(width, self.colour).as_bytes())
    }

    /// Prints a screen as talk, when the standard output is for data.
    pub fn show_aside(&self, screen: &Screen) {
        let _ = io::stderr().write_all(screen.paint(self.width, false).as_bytes());
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn put(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Prints a line; what of it is from outside must be [`Shown`].
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        self.put(format!("{line}\n").as_bytes())
    }

    /// Prints a JSON object on one line.
    ///
    /// # Errors
    /// When the standard output can't be written.
    pub fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
        self.line(&text)
    }

    /// Says something to a person. A standard error that can't be written is no reason to stop.
    pub fn say(&self, words: &str) {
        let _ = writeln!(io::stderr(), "{}", Shown::text(words).as_str());
    }

    /// Says why a command failed.
    pub fn fail(&self, failure: &Failure) {
        if failure.quiet {
            return;
        }
        if self.json {
            let _ = self.object(&failure.to_json());
        } else {
            let _ = writeln!(
                io::stderr(),
                "countersign: {}",
                failure.message.replace(|c: char| c.is_control() && c != '\n', "?")
            );
        }
    }

    /// Asks the person at the terminal, not whatever the standard input is; what was typed ahead does not count.
    ///
    /// # Errors
    /// When there is no terminal.
    pub fn ask(&self, question: &str, instead: &str) -> Result<String, Failure> {
        let no_terminal =
            |error: io::Error| Failure::usage(format!("there is no terminal to ask at ({error}); {instead}"));
        let mut terminal = File::options().read(true).write(true).open("/dev/tty").map_err(no_terminal)?;
        let _ = rustix::termios::tcflush(&terminal, rustix::termios::QueueSelector::IFlush);
        write!(terminal, "{question} ").map_err(no_terminal)?;
        terminal.flush().map_err(no_terminal)?;
        let mut answer = String::new();
        BufReader::new(io::Read::take(terminal, 256)).read_line(&mut answer).map_err(no_terminal)?;
        Ok(answer.trim().to_owned())
    }
}

/// Writes a file that the user named; `-` is the standard output. An existing file is not replaced.
///
/// # Errors
/// When it exists or can't be written.
pub fn write_new(path: &Path, bytes: &[u8], talk: &Talk) -> Result<(), Failure> {
    if path == Path::new("-") {
        return talk.put(bytes);
    }
    let place = Shown::text(&path.to_string_lossy());
    let failed = |error: io::Error| {
        let advice = if error.kind() == io::ErrorKind::AlreadyExists { "; choose another name" } else { "" };
        Failure::usage(format!("can't write {}: {error}{advice}", place.as_str()))
    };
    let mut file = File::options().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

/// Output of a run on its way to a terminal: control characters, C1, bidi and bytes that are no UTF-8 become visible
/// escapes, so that a step can't write to the approver's terminal as if it were this program. Newline and tab stay.
#[derive(Debug, Default)]
pub struct Tamed {
    tail: Vec<u8>,
}

impl Tamed {
    /// What may be printed of the next piece. The beginning of a character that is not complete yet is kept back.
    pub fn feed(&mut self, piece: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.tail);
        bytes.extend_from_slice(piece);
        let mut out = String::new();
        let mut rest = &bytes[..];
        loop {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    tame(text, &mut out);
                    break;
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    tame(&String::from_utf8_lossy(good), &mut out);
                    let Some(length) = error.error_len() else {
                        self.tail = bad.to_vec();
                        break;
                    };
                    raw(&bad[..length], &mut out);
                    rest = &bad[length..];
                }
            }
        }
        out
    }

    /// What is left at the end.
    pub fn end(&mut self) -> String {
        let mut out = String::new();
        raw(&std::mem::take(&mut self.tail), &mut out);
        out
    }
}

fn tame(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for c in text.chars() {
        let bidi = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if (c.is_control() && c != '\n' && c != '\t') || bidi {
            let _ = if u32::from(c) < 0x80 {
                write!(out, "\\x{:02x}", u32::from(c))
            } else {
                write!(out, "\\u{{{:x}}}", u32::from(c))
            };
        } else {
            out.push(c);
        }
    }
}

fn raw(bytes: &[u8], out: &mut String) {
    use std::fmt::Write as _;
    for byte in bytes {
        let _ = write!(out, "\\x{byte:02x}");
    }
}

/// Writes one character of each mark by which a CI system finds a command in a log as an escape.
///
/// GitHub reads `::name …` at the beginning of a line after blanks; GitHub and Azure read `##[name]` and `##vso[name]` anywhere
/// in a line, TeamCity `##teamcity[name]`. The marks of GitLab, Buildkite and Jenkins begin with control characters, which
/// [`Tamed`] escapes.
#[derive(Debug, Default)]
pub struct CommandGuard {
    out: LineSoFar,
    err: LineSoFar,
    /// The two streams as one: a job's log may be one file for both, and a mark be divided among them.
    both: LineSoFar,
}

impl CommandGuard {
    /// What may be printed of the next piece of a stream.
    pub fn defuse(&mut self, stream: StreamName, text: &str) -> String {
        use std::fmt::Write as _;
        let Self { out, err, both } = self;
        let own = match stream {
            StreamName::Stdout => out,
            StreamName::Stderr => err,
        };
        let mut defused = String::with_capacity(text.len());
        for c in text.chars() {
            if own.completes_mark(c) || both.completes_mark(c) {
                let _ = write!(defused, "\\x{:02x}", u32::from(c));
            } else {
                defused.push(c);
            }
            own.push(c);
            both.push(c);
        }
        defused
    }

    /// Something else ended the line on the standard error.
    pub fn line_ended(&mut self) {
        self.err = LineSoFar::default();
        self.both = LineSoFar::default();
    }
}

/// As much of a line as tells whether the next character completes a mark.
#[derive(Debug, Default)]
struct LineSoFar {
    /// Something other than blanks has come.
    begun: bool,
    /// Blanks and one colon have come, nothing else.
    colon: bool,
    /// So many `#` came last; two is as good as more.
    hashes: u8,
}

impl LineSoFar {
    const fn completes_mark(&self, c: char) -> bool {
        (self.colon && c == ':') || (self.hashes == 2 && (c == '[' || c.is_ascii_alphanumeric()))
    }

    fn push(&mut self, c: char) {
        if c == '\n' {
            *self = Self::default();
            return;
        }
        self.colon = !self.begun && c == ':';
        self.begun |= !c.is_whitespace();
        self.hashes = if c == '#' { 2.min(self.hashes + 1) } else { 0 };
    }
}

/// A field of a JSON object as text, for tables.
#[must_use]
pub fn text_of<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_cannot_write_to_the_terminal_as_this_program() {
        let mut tamed = Tamed::default();
        assert_eq!(tamed.feed(b"a\x1b[2Jb\r\n\tc\x07"), "a\\x1b[2Jb\\x0d\n\tc\\x07");
        assert_eq!(tamed.feed("\u{9b}2J\u{202e}é".as_bytes()), "\\u{9b}2J\\u{202e}é");
        assert_eq!(tamed.feed(b"\xff\xfe"), "\\xff\\xfe");
        let mut split = String::new();
        for byte in "é\u{1b}€".as_bytes() {
            split += &tamed.feed(std::slice::from_ref(byte));
        }
        assert_eq!(split, "é\\x1b€");
        assert_eq!(tamed.feed(b"\xe2\x82"), "");
        assert_eq!(tamed.end(), "\\xe2\\x82");
        assert_eq!(tamed.end(), "");
    }

    #[test]
    fn a_run_cannot_give_a_command_to_the_ci_system() {
        let defused = |pieces: &[(StreamName, &str)]| {
            let mut guard = CommandGuard::default();
            pieces.iter().map(|(stream, text)| guard.defuse(*stream, text)).collect::<String>()
        };
        use StreamName::{Stderr, Stdout};
        for (text, expected) in [
            ("::set-output name=a::b\n::x::\n", ":\\x3aset-output name=a::b\n:\\x3ax::\n"),
            (" \t\u{3000}::add-mask::x", " \t\u{3000}:\\x3aadd-mask::x"),
            ("a ##vso[task.setvariable variable=x]y", "a ##\\x76so[task.setvariable variable=x]y"),
            ("##[group]x\n####[x]", "##\\x5bgroup]x\n####\\x5bx]"),
            ("##teamcity[x]", "##\\x74eamcity[x]"),
        ] {
            assert_eq!(defused(&[(Stdout, text)]), expected);
            // Byte by byte, and divided among two streams that go to one log.
            let pieces: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<_> = pieces.iter().map(|piece| (Stderr, piece.as_str())).collect();
            assert_eq!(defused(&single), expected);
            let turns = [Stdout, Stderr].into_iter().cycle();
            let mixed: Vec<_> = turns.zip(&pieces).map(|(stream, piece)| (stream, piece.as_str())).collect();
            let mixed = defused(&mixed);
            assert!(mixed.lines().all(|line| !line.trim_start().starts_with("::")), "{mixed}");
            assert!(!["##[", "##v", "##t"].iter().any(|mark| mixed.contains(mark)), "{mixed}");
        }
        // In logs of their own, the other stream is not in between.
        assert_eq!(defused(&[(Stdout, "x"), (Stderr, "::a::")]), "x:\\x3aa::");
        for harmless in ["std::vector\n", "# a\n## b\n### c\n", "a::b ##\n", "#[derive]\n", ": :\n"] {
            assert_eq!(defused(&[(Stdout, harmless)]), harmless);
        }
    }
}
