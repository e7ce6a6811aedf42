//! A line of the report of doctor.

use client::PrintableText;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(super) holds: State,
    pub(super) what: String,
    pub(super) says: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Note,
    /// The operator must fix the problem. The JSON value is `mend`, because other programs read this value.
    #[serde(rename = "mend")]
    Fix,
}

pub(super) fn ok(what: &str, says: String) -> Line {
    Line {
        holds: State::Ok,
        what: what.to_owned(),
        says,
    }
}

pub(super) fn noted(what: &str, says: String) -> Line {
    Line {
        holds: State::Note,
        what: what.to_owned(),
        says,
    }
}

pub(super) fn fix(what: &str, says: String) -> Line {
    Line {
        holds: State::Fix,
        what: what.to_owned(),
        says,
    }
}

pub(super) fn text(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| line.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let mark = match line.holds {
            State::Ok => "ok  ",
            State::Note => "note",
            State::Fix => "FIX ",
        };
        text.push_str(&format!(
            "{mark}  {:<width$}  {}\n",
            line.what,
            PrintableText::message(&line.says).as_str()
        ));
    }
    let count = lines.iter().filter(|line| line.holds == State::Fix).count();
    text.push_str(&match count {
        0 => "\nNothing to fix.\n".to_owned(),
        1 => "\n1 thing to fix.\n".to_owned(),
        count => format!("\n{count} things to fix.\n"),
    });
    text
}
