//! Questions of the policy: the text of a question, and the parser of the typed answer.

use client::{AnswerButton, LineTone, PrintableText, Screen};
use documents::{Permission, PermissionKind, PermissionReason};
use reading::{AnswerChoice, lists::word, plural};

/// One question of the policy, with all places in the script that need the permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Permission that the question is about.
    pub asked: Permission,
    /// Places in the script that need the permission.
    pub places: Vec<Occurrence>,
    /// True if the step gets these variables of the environment, separated by commas, as secrets.
    pub for_secrets: bool,
}

/// One place in the script that needs a permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Place in the form `file:line:column`.
    pub at: String,
    /// Wrapper commands that run the command, outermost first.
    pub via: Vec<String>,
}

const fn letter(choice: AnswerChoice) -> &'static str {
    match choice {
        AnswerChoice::Once => "o",
        AnswerChoice::Session => "s",
        AnswerChoice::AllOfType => "a",
        AnswerChoice::Deny => "d",
        AnswerChoice::DenyAll => "n",
    }
}

const fn short(choice: AnswerChoice) -> &'static str {
    match choice {
        AnswerChoice::Once => "once",
        AnswerChoice::Session => "session",
        AnswerChoice::AllOfType => "all",
        AnswerChoice::Deny => "deny",
        AnswerChoice::DenyAll => "deny all",
    }
}

fn choice_words(choice: AnswerChoice, kind: PermissionKind) -> String {
    match choice {
        AnswerChoice::Once => "allow once: in this step".to_owned(),
        AnswerChoice::Session => "allow in this session: until this command ends".to_owned(),
        AnswerChoice::AllOfType => format!(
            "allow all {} that no list names in this session",
            plural(kind)
        ),
        AnswerChoice::Deny => "deny".to_owned(),
        AnswerChoice::DenyAll => format!(
            "deny all {} that no list allows in this session",
            plural(kind)
        ),
    }
}

impl Question {
    /// Returns the question about variables that a sign-in block at this place gets as secrets.
    pub fn of_secrets(asked: Permission, at: String) -> Self {
        Self {
            asked,
            places: vec![Occurrence {
                at,
                via: Vec::new(),
            }],
            for_secrets: true,
        }
    }

    /// Parses the typed answer. Returns `None` if the text is not one of the offered choices.
    pub fn choice(&self, typed: &str) -> Option<AnswerChoice> {
        let typed = typed.trim().to_ascii_lowercase();
        AnswerChoice::offered(self.asked.why)
            .iter()
            .copied()
            .find(|choice| letter(*choice) == typed)
    }

    /// Returns the question in one line.
    pub fn words(&self) -> String {
        let Permission { kind, what, why } = &self.asked;
        let place = self
            .places
            .first()
            .map_or(String::new(), |place| format!(", {}", place.at));
        format!("{} {what} ({}{place})", word(*kind), reason_word(*why))
    }

    /// Returns the text of the question for the terminal. In text from the runbook, escapes replace the characters
    /// outside printable ASCII.
    pub fn screen(&self, step: &str) -> Screen {
        let mut screen = Screen::default();
        screen.heading("Policy asks");
        screen.field("step", step);
        screen.field(self.noun(), PrintableText::quoted(&self.asked.what));
        for place in self.places.iter().take(SHOWN_PLACES) {
            let via = if place.via.is_empty() {
                String::new()
            } else {
                format!(", run by {}", place.via.join(", which runs "))
            };
            screen.field("at", format!("{}{via}", place.at));
        }
        if self.places.len() > SHOWN_PLACES {
            screen.say(
                LineTone::Plain,
                &format!("and at {} more places", self.places.len() - SHOWN_PLACES),
            );
        }
        screen.field("because", self.because());
        for AnswerButton { letter, words } in self.buttons() {
            screen.push(LineTone::Plain, format!("    {letter}  "), &words);
        }
        screen
    }

    /// Returns the answers that the question offers.
    pub fn buttons(&self) -> Vec<AnswerButton> {
        let offered = AnswerChoice::offered(self.asked.why).iter();
        let button = |choice: &AnswerChoice| AnswerButton {
            letter: letter(*choice),
            words: choice_words(*choice, self.asked.kind),
        };
        offered.map(button).collect()
    }

    /// Returns the prompt after which the person types the answer.
    pub fn ask(&self) -> String {
        let choices = AnswerChoice::offered(self.asked.why).iter();
        let choices: Vec<String> = choices
            .map(|choice| format!("{} = {}", letter(*choice), short(*choice)))
            .collect();
        format!("allow it? [{}]", choices.join(", "))
    }

    fn because(&self) -> &'static str {
        match (self.asked.why, self.asked.kind) {
            _ if self.for_secrets => "the step gets these variables of your environment as secrets",
            (_, PermissionKind::Env) => {
                "the variable can change which programs later commands start and what these \
                 programs do"
            }
            (PermissionReason::Unlisted, _) => "no list of the policy contains this item",
            (PermissionReason::BuiltInDeny, _) => "a built-in deny list contains this item",
            (PermissionReason::Unknown, _) => "the command is known only when the script runs",
        }
    }

    /// Returns the noun for this kind of permission.
    pub const fn noun(&self) -> &'static str {
        match self.asked.kind {
            _ if self.for_secrets => "variables",
            PermissionKind::Run => "command",
            PermissionKind::Read | PermissionKind::Write => "path",
            PermissionKind::Env => "variable",
        }
    }

    /// Returns the option that allows the permission, or `None` if no option can allow it.
    pub fn flag(&self) -> Option<String> {
        let flag = match self.asked.kind {
            PermissionKind::Run => "--allow-run",
            PermissionKind::Read => "--allow-read",
            PermissionKind::Write => "--allow-write",
            PermissionKind::Env => "--allow-env",
        };
        let is_plain = |c: u8| {
            c.is_ascii_alphanumeric() || b"._/+-".contains(&c) || (c == b',' && self.for_secrets)
        };
        let plain = self.asked.what.bytes().all(is_plain);
        // The name of a variable is always known, even if its value is unknown.
        let known =
            self.asked.why != PermissionReason::Unknown || self.asked.kind == PermissionKind::Env;
        (known && plain).then(|| format!("{flag} {}", self.asked.what))
    }
}

/// Maximum number of places that one question shows.
const SHOWN_PLACES: usize = 5;

const fn reason_word(why: PermissionReason) -> &'static str {
    match why {
        PermissionReason::Unlisted => "unlisted",
        PermissionReason::BuiltInDeny => "built-in-deny",
        PermissionReason::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlisted(what: &str) -> Question {
        let places = vec![Occurrence {
            at: "a.md:3:1".to_owned(),
            via: vec!["sudo".to_owned()],
        }];
        let asked = Permission {
            kind: PermissionKind::Run,
            what: what.to_owned(),
            why: PermissionReason::Unlisted,
        };
        Question {
            asked,
            places,
            for_secrets: false,
        }
    }

    #[test]
    fn only_offered_choices_are_valid_answers() {
        let question = unlisted("curl");
        for (typed, choice) in [
            ("o", AnswerChoice::Once),
            (" S \n", AnswerChoice::Session),
            ("a", AnswerChoice::AllOfType),
            ("d\n", AnswerChoice::Deny),
            ("n", AnswerChoice::DenyAll),
        ] {
            assert_eq!(question.choice(typed), Some(choice), "{typed:?}");
        }
        for typed in ["", "\n", "y", "yes", "oo", "\x1b[Ao", "o o", "once"] {
            assert_eq!(question.choice(typed), None, "{typed:?}");
        }
        let mut unknown = unlisted("$CMD@3");
        unknown.asked.why = PermissionReason::Unknown;
        assert_eq!(
            ["o", "s", "a"].map(|typed| unknown.choice(typed).is_some()),
            [true, false, false]
        );
        assert_eq!(unknown.flag(), None);
    }

    #[test]
    fn a_runbook_cannot_forge_the_text_of_a_question() {
        let evil = "curl\x1b[2J\r\n== Policy asks ==\n  command       \"git\"\u{202e}\u{9b}1A";
        let question = Question {
            places: vec![Occurrence {
                at: format!("{evil}.md:1:1"),
                via: vec![evil.to_owned()],
            }],
            ..unlisted(evil)
        };
        let painted = question.screen(evil).paint(80, false);
        assert!(
            painted
                .bytes()
                .all(|c| c == b'\n' || (0x20..0x7f).contains(&c)),
            "{painted}"
        );
        assert_eq!(
            painted
                .lines()
                .filter(|line| line.starts_with("=="))
                .count(),
            1,
            "{painted}"
        );
        assert_eq!(
            painted
                .lines()
                .filter(|line| line.starts_with("  command "))
                .count(),
            1,
            "{painted}"
        );
        assert!(
            question.flag().is_none(),
            "no flag is advised that a shell would read another way"
        );
    }
}
