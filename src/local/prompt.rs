//! What policy asks of a person: the words of it, and what was typed. [`crate::policy::session`] keeps the answers.

use crate::policy::lists::word;
use crate::policy::session::{Choice, plural};
use crate::record::authorization::{Permission, PermissionKind, PermissionReason};
use crate::terminal::screen::{Screen, Shown, Tone};

/// One thing that policy asks about, with everywhere it stands in the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is asked.
    pub asked: Permission,
    /// Where it stands.
    pub places: Vec<Occurrence>,
}

/// One place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// `file:line:column`.
    pub at: String,
    /// Wrappers that run it, outermost first.
    pub via: Vec<String>,
}

const fn letter(choice: Choice) -> &'static str {
    match choice {
        Choice::Once => "o",
        Choice::Session => "s",
        Choice::AllOfType => "a",
        Choice::Deny => "d",
        Choice::DenyAll => "n",
    }
}

fn choice_words(choice: Choice, kind: PermissionKind) -> String {
    match choice {
        Choice::Once => "allow once: in this step".to_owned(),
        Choice::Session => "allow it in this session: until this command ends".to_owned(),
        Choice::AllOfType => format!("allow all {} that no list names in this session", plural(kind)),
        Choice::Deny => "deny".to_owned(),
        Choice::DenyAll => format!("deny all {} that no list allows in this session", plural(kind)),
    }
}

/// The most of a question's text that a receipt keeps, in bytes.
const MOST: usize = 128;

impl Question {
    /// What was typed, if it is one of the choices that are offered. Nothing is meant by an empty line.
    pub fn choice(&self, typed: &str) -> Option<Choice> {
        let typed = typed.trim().to_ascii_lowercase();
        Choice::offered(self.asked.why).iter().copied().find(|choice| letter(*choice) == typed)
    }

    /// As a receipt has it.
    pub fn recorded(&self) -> String {
        let Permission { kind, what, why } = &self.asked;
        let place = self.places.first().map_or(String::new(), |place| format!(", {}", cut(&place.at)));
        format!("{} {} ({}{place})", word(*kind), cut(what), reason_word(*why))
    }

    /// What the person sees. Nothing of the runbook reaches a terminal but as printable ASCII.
    pub fn screen(&self, step: &str) -> Screen {
        let mut screen = Screen::default();
        screen.heading("Policy asks");
        screen.field("step", &Shown::text(step));
        screen.field(self.noun(), &Shown::quoted(&self.asked.what));
        for place in self.places.iter().take(SHOWN_PLACES) {
            let via = if place.via.is_empty() {
                String::new()
            } else {
                format!(", run by {}", place.via.join(", which runs "))
            };
            screen.field("at", &Shown::text(&format!("{}{via}", place.at)));
        }
        if self.places.len() > SHOWN_PLACES {
            screen.say(Tone::Plain, &format!("and at {} more places", self.places.len() - SHOWN_PLACES));
        }
        screen.field("because", &Shown::text(self.because()));
        for choice in Choice::offered(self.asked.why) {
            let words = choice_words(*choice, self.asked.kind);
            screen.push(Tone::Plain, format!("    {}  ", letter(*choice)), Shown::text(&words));
        }
        screen
    }

    /// The line that stands before what is typed.
    pub fn ask(&self) -> String {
        let letters: Vec<&str> = Choice::offered(self.asked.why).iter().map(|choice| letter(*choice)).collect();
        format!("allow it? [{}]", letters.join("/"))
    }

    fn because(&self) -> &'static str {
        match (self.asked.why, self.asked.kind) {
            (_, PermissionKind::Env) => "it changes what later commands are or do",
            (PermissionReason::Unlisted, _) => "no list of the policy names it",
            (PermissionReason::BuiltInDeny, _) => "a built-in deny list names it",
            (PermissionReason::Unknown, _) => "what runs here can't be known before it runs",
        }
    }

    /// What it is.
    pub const fn noun(&self) -> &'static str {
        match self.asked.kind {
            PermissionKind::Run => "command",
            PermissionKind::Read | PermissionKind::Write => "path",
            PermissionKind::Env => "variable",
        }
    }

    /// The flag that would allow it, where one would.
    pub fn flag(&self) -> Option<String> {
        let flag = match self.asked.kind {
            PermissionKind::Run => "--allow-run",
            PermissionKind::Read => "--allow-read",
            PermissionKind::Write => "--allow-write",
            PermissionKind::Env => "--allow-env",
        };
        let plain = self.asked.what.bytes().all(|c| c.is_ascii_alphanumeric() || b"._/+-".contains(&c));
        // A variable is known by its name, whatever it will change.
        let known = self.asked.why != PermissionReason::Unknown || self.asked.kind == PermissionKind::Env;
        (known && plain).then(|| format!("{flag} {}", self.asked.what))
    }
}

/// Places of one question that are shown: a screen, not a flood.
const SHOWN_PLACES: usize = 5;

const fn reason_word(why: PermissionReason) -> &'static str {
    match why {
        PermissionReason::Unlisted => "unlisted",
        PermissionReason::BuiltInDeny => "built-in-deny",
        PermissionReason::Unknown => "unknown",
    }
}

/// At most [`MOST`] bytes of a text, whole characters.
fn cut(text: &str) -> &str {
    let end = (0..=MOST.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlisted(what: &str) -> Question {
        let places = vec![Occurrence { at: "a.md:3:1".to_owned(), via: vec!["sudo".to_owned()] }];
        let asked = Permission { kind: PermissionKind::Run, what: what.to_owned(), why: PermissionReason::Unlisted };
        Question { asked, places }
    }

    #[test]
    fn only_offered_answers_are_accepted() {
        let question = unlisted("curl");
        for (typed, choice) in [
            ("o", Choice::Once),
            (" S \n", Choice::Session),
            ("a", Choice::AllOfType),
            ("d\n", Choice::Deny),
            ("n", Choice::DenyAll),
        ] {
            assert_eq!(question.choice(typed), Some(choice), "{typed:?}");
        }
        for typed in ["", "\n", "y", "yes", "oo", "\x1b[Ao", "o o", "once"] {
            assert_eq!(question.choice(typed), None, "{typed:?}");
        }
        let mut unknown = unlisted("$CMD@3");
        unknown.asked.why = PermissionReason::Unknown;
        assert_eq!(["o", "s", "a"].map(|typed| unknown.choice(typed).is_some()), [true, false, false]);
        assert_eq!(unknown.flag(), None);
    }

    #[test]
    fn a_runbook_cannot_forge_a_question() {
        let evil = "curl\x1b[2J\r\n== Policy asks ==\n  command       \"git\"\u{202e}\u{9b}1A";
        let question = Question {
            places: vec![Occurrence { at: format!("{evil}.md:1:1"), via: vec![evil.to_owned()] }],
            ..unlisted(evil)
        };
        let painted = question.screen(evil).paint(80, false);
        assert!(painted.bytes().all(|c| c == b'\n' || (0x20..0x7f).contains(&c)), "{painted}");
        assert_eq!(painted.lines().filter(|line| line.starts_with("==")).count(), 1, "{painted}");
        assert_eq!(painted.lines().filter(|line| line.starts_with("  command ")).count(), 1, "{painted}");
        assert!(question.flag().is_none(), "no flag is advised that a shell would read another way");
        let long = unlisted(&"\u{e9}".repeat(500));
        assert!(long.recorded().len() < 300);
    }
}
