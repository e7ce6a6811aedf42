//! The standard streams of a command: data goes to the standard output, messages to the standard error. Colours are
//! used only at a terminal.

use std::{
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use documents::visible;
use serde::Serialize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::{CommandFailure, CommandResult, Exit, PrintableText, Screen};

/// A person who reads the output of a command and answers its questions elsewhere than at a terminal, for example in a
/// browser.
pub trait Audience: fmt::Debug + Send + Sync {
    /// Shows a JSON object of the output.
    fn object(&self, value: Value);
    /// Shows a message.
    fn say(&self, words: &str);
    /// Shows the text of the next question.
    fn before_question(&self, text: &str);
    /// Asks a question, and returns the letter of the chosen answer, or `None` if nobody answered.
    fn choose(&self, question: &str, choices: &[AnswerButton]) -> Option<String>;
}

/// An answer that a question offers.
#[derive(Debug, Clone)]
pub struct AnswerButton {
    /// Text that a person types at a terminal.
    pub letter: &'static str,
    /// Meaning of the answer.
    pub words: String,
}

/// The standard streams of this process and their settings.
#[derive(Clone)]
pub struct Terminal {
    /// True if the command prints JSON for programs.
    pub json: bool,
    colour: bool,
    /// Maximum number of columns in a line.
    pub width: usize,
    /// True if the standard output is a terminal, where external text must be escaped because of control sequences.
    pub out_is_terminal: bool,
    /// True if the standard error is a terminal.
    pub err_is_terminal: bool,
    audience: Option<Arc<dyn Audience>>,
}

/// Maximum length of an answer. The kernel passes no longer line from a terminal.
const MOST_TYPED: u64 = 4096;
/// Line width, in columns, if there is no terminal.
const WIDTH: usize = 100;

impl Terminal {
    /// Reads the settings of the standard streams of this process.
    pub fn new(json: bool) -> Self {
        let out_is_terminal = io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width =
            rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        Self {
            json,
            colour: out_is_terminal && !plain,
            width: if width == 0 { WIDTH } else { width },
            out_is_terminal,
            err_is_terminal: io::stderr().is_terminal(),
            audience: None,
        }
    }

    /// Returns streams that lead to this person instead of the standard streams. Output and outcomes are JSON objects.
    pub fn of_audience(audience: Arc<dyn Audience>) -> Self {
        let audience = Some(audience);
        Self {
            json: true,
            colour: false,
            width: WIDTH,
            out_is_terminal: false,
            err_is_terminal: false,
            audience,
        }
    }

    /// Returns the maximum number of columns of a table. A table in a pipe or a file has no maximum.
    pub fn table_width(&self) -> usize {
        if self.out_is_terminal {
            self.width
        } else {
            usize::MAX
        }
    }

    /// Prints a screen.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn show(&self, screen: &Screen) -> CommandResult<()> {
        self.put(screen.paint(self.width, self.colour))
    }

    /// Prints a long screen, at a terminal through the program in `$PAGER` if that variable is set.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn page(&self, screen: &Screen) -> CommandResult<()> {
        let pager =
            std::env::var_os("PAGER").filter(|pager| !pager.is_empty() && self.out_is_terminal);
        let Some(pager) = pager else {
            return self.show(screen);
        };
        // `$PAGER` is a command line, as for git. Some pagers do not support colours.
        let mut command = Command::new("/bin/sh");
        // The text comes from other people, so `less` must not start another program, even if a person presses a key
        // for it.
        command
            .arg("-c")
            .arg(pager)
            .env("LESSSECURE", "1")
            .env_remove("LESSOPEN")
            .env_remove("LESSCLOSE");
        let child = command.stdin(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            return self.show(screen);
        };
        if let Some(mut input) = child.stdin.take() {
            // The reader may close the pager before the end, so a write error is ignored.
            let _ = input.write_all(screen.paint(self.width, false).as_bytes());
        }
        // A pager that failed, or that is not installed, may have shown nothing.
        if child.wait()?.success() {
            Ok(())
        } else {
            self.show(screen)
        }
    }

    /// Prints a screen. Lines are wrapped only at a terminal, so that a search for a whole digest in a log succeeds.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn show_lines(&self, screen: &Screen) -> CommandResult<()> {
        self.put(screen.paint(self.table_width(), self.colour))
    }

    /// Prints a screen on the standard error, because the standard output is for data.
    pub fn show_aside(&self, screen: &Screen) {
        let text = screen.paint(self.width, false);
        match &self.audience {
            Some(audience) => audience.before_question(&text),
            None => drop(io::stderr().write_all(text.as_bytes())),
        }
    }

    /// Prints bytes without change.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn put(&self, bytes: impl AsRef<[u8]>) -> CommandResult<()> {
        let bytes = bytes.as_ref();
        if let Some(audience) = &self.audience {
            audience.say(&String::from_utf8_lossy(bytes));
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(())
    }

    /// Prints a line, whose external text the caller must have escaped with [`PrintableText`].
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn line(&self, line: impl fmt::Display) -> CommandResult<()> {
        self.put(format!("{line}\n"))
    }

    /// Prints a JSON object on one line.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn object(&self, value: impl Serialize) -> CommandResult<()> {
        if let Some(audience) = &self.audience {
            audience.object(serde_json::to_value(&value).map_err(CommandFailure::unreachable)?);
            return Ok(());
        }
        self.line(serde_json::to_string(&value).map_err(CommandFailure::unreachable)?)
    }

    /// Prints the answer of a command: as JSON with `--json`, or else the words.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn answer(&self, value: impl Serialize, words: impl fmt::Display) -> CommandResult {
        if self.json {
            self.object(value)?;
        } else {
            self.line(words)?;
        }
        Ok(Exit::Done)
    }

    /// Reports what a command did: as JSON with `--json`, or else as a message for a person.
    ///
    /// # Errors
    /// Returns an error if the standard output cannot be written.
    pub fn report(&self, value: impl Serialize, words: impl fmt::Display) -> CommandResult<()> {
        if self.json {
            return self.object(value);
        }
        self.say(words);
        Ok(())
    }

    /// Prints a message for a person. A write error on the standard error is ignored.
    pub fn say(&self, words: impl fmt::Display) {
        self.tell(&PrintableText::message(&words.to_string()));
    }

    /// Prints a message that contains prose.
    pub fn tell(&self, shown: &PrintableText) {
        match &self.audience {
            Some(audience) => audience.say(shown.as_str()),
            None => drop(writeln!(io::stderr(), "{shown}")),
        }
    }

    /// Asks a question that has these answers, and returns what the person typed.
    ///
    /// # Errors
    /// Returns an error if nobody can answer.
    pub fn choose(
        &self,
        question: &str,
        choices: &[AnswerButton],
        instead: &str,
    ) -> CommandResult<String> {
        let Some(audience) = &self.audience else {
            return self.ask(question, instead);
        };
        audience
            .choose(question, choices)
            .ok_or_else(|| CommandFailure::usage("nobody answered the question"))
    }

    /// Prints the reason why a command failed.
    pub fn fail(&self, failure: &CommandFailure) {
        if failure.quiet {
            return;
        }
        if self.json {
            let _ = self.object(failure.to_json());
        } else {
            // The message contains prose, and external text that is escaped already.
            let _ = writeln!(io::stderr(), "countersign: {}", visible(&failure.message));
        }
    }

    /// Asks the person at the terminal, even if the standard input is redirected. Input from before the question is
    /// ignored.
    ///
    /// # Errors
    /// Returns an error if there is no terminal.
    pub fn ask(&self, question: &str, instead: &str) -> CommandResult<String> {
        let no_terminal = |error: io::Error| {
            CommandFailure::usage(format!(
                "there is no terminal for the question ({error}); {instead}"
            ))
        };
        let mut terminal = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .map_err(no_terminal)?;
        let _ = rustix::termios::tcflush(&terminal, rustix::termios::QueueSelector::IFlush);
        write!(terminal, "{question} ").map_err(no_terminal)?;
        terminal.flush().map_err(no_terminal)?;
        let mut answer = String::new();
        BufReader::new(io::Read::take(terminal, MOST_TYPED))
            .read_line(&mut answer)
            .map_err(no_terminal)?;
        Ok(answer.trim().to_owned())
    }
}

/// Breaks a question between its words, so that the terminal breaks no word. The answer follows in the last line.
pub fn wrapped(question: &str, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in question.split(' ') {
        if column > 0 && column + 1 + word.width() >= width {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += word.width();
    }
    out
}

/// Writes a file that the user named. The path `-` means the standard output.
///
/// # Errors
/// Returns an error if the file exists or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8], terminal: &Terminal) -> CommandResult<()> {
    if path == Path::new("-") {
        return terminal.put(bytes);
    }
    let place = PrintableText::file(path);
    let failed = |error: io::Error| {
        let advice = if error.kind() == io::ErrorKind::AlreadyExists {
            "; choose another name"
        } else {
            ""
        };
        CommandFailure::usage(format!("can't write {place}: {error}{advice}"))
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Writes a document as one line of JSON to a new file, or to the standard output if the path is `-`.
///
/// # Errors
/// Returns an error if the file exists or cannot be written.
pub fn write_document(
    path: &Path,
    document: &impl Serialize,
    terminal: &Terminal,
) -> CommandResult<()> {
    let mut bytes = serde_json::to_vec(document).map_err(CommandFailure::unreachable)?;
    bytes.push(b'\n');
    write_new(path, &bytes, terminal)
}

/// Prints a line to the standard error. A write error is ignored.
pub fn eprintln_quietly(line: &(impl fmt::Display + ?Sized)) {
    use std::io::Write as _;
    let _ = writeln!(io::stderr(), "{line}");
}
