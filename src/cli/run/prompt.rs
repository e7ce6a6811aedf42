//! What policy asks, and what a person answers: pure.
//!
//! Questions are asked one after another until one is denied; what was answered for the session is not asked again.
//! A session is one call of `countersign run`: nothing is kept beyond it. What can't be known before running is allowed
//! once at the most: the same words may be another thing the next time.

use std::collections::BTreeSet;

use crate::cli::screen::{Screen, Shown, Tone};
use crate::record::authorization::{PermissionKind, PermissionReason};
use crate::record::local_receipt::Answer;

/// One thing that policy asks about, with everywhere it stands in the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// A command, or a variable.
    pub(super) kind: PermissionKind,
    /// Which, as a permission writes it.
    pub(super) what: String,
    /// Why it is asked.
    pub(super) why: PermissionReason,
    /// Where it stands.
    pub(super) places: Vec<Occurrence>,
}

/// One place of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Occurrence {
    /// `file:line:column`.
    pub(super) at: String,
    /// Wrappers that run it, outermost first.
    pub(super) via: Vec<String>,
}

/// What a person can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// In this step, now.
    Once,
    /// Whenever it is asked in this session.
    Session,
    /// Everything of its type that no list names, in this session.
    AllOfType,
    /// Not this.
    Deny,
    /// Nothing of its type in this session.
    DenyAll,
}

impl Choice {
    /// Every choice that a question offers, with what is typed for it.
    pub(super) fn of(question: &Question) -> &'static [Self] {
        match question.why {
            PermissionReason::Unknown => &[Self::Once, Self::Deny, Self::DenyAll],
            PermissionReason::Unlisted | PermissionReason::BuiltInDeny => {
                &[Self::Once, Self::Session, Self::AllOfType, Self::Deny, Self::DenyAll]
            }
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Once => "o",
            Self::Session => "s",
            Self::AllOfType => "a",
            Self::Deny => "d",
            Self::DenyAll => "n",
        }
    }

    fn words(self, kind: PermissionKind) -> String {
        match self {
            Self::Once => "allow once: in this step".to_owned(),
            Self::Session => "allow it in this session: until this command ends".to_owned(),
            Self::AllOfType => format!("allow all {} that no list names in this session", plural(kind)),
            Self::Deny => "deny".to_owned(),
            Self::DenyAll => format!("deny all {} that no list allows in this session", plural(kind)),
        }
    }

    /// What was typed, if it is one of those that the question offers. Nothing is meant by an empty line.
    pub(super) fn parse(typed: &str, question: &Question) -> Option<Self> {
        let typed = typed.trim().to_ascii_lowercase();
        Self::of(question).iter().copied().find(|choice| choice.letter() == typed)
    }

    /// As a receipt has it.
    const fn recorded(self) -> &'static str {
        match self {
            Self::Once => "allow once",
            Self::Session => "allow this session",
            Self::AllOfType => "allow all of this type this session",
            Self::Deny => "deny once",
            Self::DenyAll => "deny all of this type this session",
        }
    }
}

/// Who answers where the session has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// The person at the terminal.
    Person,
    /// `-y`: what is unlisted is allowed, never what is unknown.
    Yes,
    /// Nobody: everything is denied. The reason in words.
    Nobody(&'static str),
}

/// What was answered for the whole session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// By the word of their type.
    allowed: BTreeSet<(&'static str, String)>,
    all: BTreeSet<&'static str>,
    none: BTreeSet<&'static str>,
}

/// How a question came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// Allowed, as the receipt tells it.
    Allowed(Answer),
    /// Denied, and why in words.
    Denied(String),
}

impl Session {
    /// Answers a question: from what was answered before, else by who answers. `ask` shows it and gives what was chosen.
    pub(super) fn answer(
        &mut self,
        question: &Question,
        answers: Answers,
        ask: impl FnOnce(&Question) -> Choice,
    ) -> Given {
        let allowed = |words: &str| Given::Allowed(Answer { question: question.recorded(), answer: words.to_owned() });
        let kind = word(question.kind);
        if self.none.contains(&kind) {
            return Given::Denied(format!(
                "all {} that no list allows were denied in this session",
                plural(question.kind)
            ));
        }
        let is_known = question.why != PermissionReason::Unknown;
        if is_known && self.allowed.contains(&(kind, question.what.clone())) {
            return allowed("allowed earlier in this session");
        }
        if is_known && self.all.contains(&kind) {
            return allowed("allowed with all of this type earlier in this session");
        }
        let choice = match answers {
            Answers::Yes if question.why == PermissionReason::Unlisted => return allowed("allowed by -y"),
            Answers::Yes => return Given::Denied("-y allows what no list names, never what can't be known".to_owned()),
            Answers::Nobody(why) => return Given::Denied(why.to_owned()),
            Answers::Person => ask(question),
        };
        match choice {
            Choice::Once => {}
            Choice::Session if is_known => drop(self.allowed.insert((kind, question.what.clone()))),
            Choice::AllOfType if is_known => drop(self.all.insert(kind)),
            // Not offered for what can't be known: once, if whoever asked gave it all the same.
            Choice::Session | Choice::AllOfType => return allowed(Choice::Once.recorded()),
            Choice::Deny => return Given::Denied("you denied it".to_owned()),
            Choice::DenyAll => {
                self.none.insert(kind);
                return Given::Denied("you denied it, with all of its type".to_owned());
            }
        }
        allowed(choice.recorded())
    }
}

/// The most of a question's text that a receipt keeps, in bytes.
const MOST: usize = 128;

impl Question {
    /// As a receipt has it.
    fn recorded(&self) -> String {
        let place = self.places.first().map_or(String::new(), |place| format!(", {}", cut(&place.at)));
        format!("{} {} ({}{place})", word(self.kind), cut(&self.what), reason_word(self.why))
    }

    /// What the person sees. Nothing of the runbook reaches a terminal but as printable ASCII.
    pub(super) fn screen(&self, step: &str) -> Screen {
        let mut screen = Screen::default();
        screen.heading("Policy asks");
        screen.field("step", &Shown::text(step));
        screen.field(self.noun(), &Shown::quoted(&self.what));
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
        for choice in Choice::of(self) {
            screen.push(Tone::Plain, format!("    {}  ", choice.letter()), Shown::text(&choice.words(self.kind)));
        }
        screen
    }

    /// The line that stands before what is typed.
    pub(super) fn ask(&self) -> String {
        let letters: Vec<&str> = Choice::of(self).iter().map(|choice| choice.letter()).collect();
        format!("allow it? [{}]", letters.join("/"))
    }

    fn because(&self) -> &'static str {
        match (self.why, self.kind) {
            (_, PermissionKind::Env) => "it changes what later commands are or do",
            (PermissionReason::Unlisted, _) => "no list of the policy names it",
            (PermissionReason::BuiltInDeny, _) => "a built-in deny list names it",
            (PermissionReason::Unknown, _) => "what runs here can't be known before it runs",
        }
    }

    /// What it is.
    pub(super) const fn noun(&self) -> &'static str {
        match self.kind {
            PermissionKind::Run => "command",
            PermissionKind::Read | PermissionKind::Write => "path",
            PermissionKind::Env => "variable",
        }
    }

    /// The flag that would allow it, where one would.
    pub(super) fn flag(&self) -> Option<String> {
        let flag = match self.kind {
            PermissionKind::Run => "--allow-run",
            PermissionKind::Read => "--allow-read",
            PermissionKind::Write => "--allow-write",
            PermissionKind::Env => "--allow-env",
        };
        let plain = self.what.bytes().all(|c| c.is_ascii_alphanumeric() || b"._/+-".contains(&c));
        // A variable is known by its name, whatever it will change.
        let known = self.why != PermissionReason::Unknown || self.kind == PermissionKind::Env;
        (known && plain).then(|| format!("{flag} {}", self.what))
    }
}

/// Places of one question that are shown: a screen, not a flood.
const SHOWN_PLACES: usize = 5;

const fn word(kind: PermissionKind) -> &'static str {
    match kind {
        PermissionKind::Run => "run",
        PermissionKind::Read => "read",
        PermissionKind::Write => "write",
        PermissionKind::Env => "env",
    }
}

const fn plural(kind: PermissionKind) -> &'static str {
    match kind {
        PermissionKind::Run => "commands",
        PermissionKind::Read => "paths to read",
        PermissionKind::Write => "paths to write",
        PermissionKind::Env => "variables",
    }
}

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

    fn question(what: &str, why: PermissionReason) -> Question {
        let places = vec![Occurrence { at: "a.md:3:1".to_owned(), via: vec!["sudo".to_owned()] }];
        Question { kind: PermissionKind::Run, what: what.to_owned(), why, places }
    }

    fn unlisted(what: &str) -> Question {
        question(what, PermissionReason::Unlisted)
    }

    /// Answers with `choice`, and tells whether it was asked at all.
    fn answer(session: &mut Session, question: &Question, choice: Choice) -> (bool, bool) {
        let mut asked = false;
        let given = session.answer(question, Answers::Person, |_| {
            asked = true;
            choice
        });
        (matches!(given, Given::Allowed(_)), asked)
    }

    #[test]
    fn each_answer_holds_as_long_as_it_says() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Once), (true, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Deny), (false, true), "once was once");
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Session), (true, true), "a denial was once too");
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Deny), (true, false), "for the session");
        assert_eq!(answer(&mut session, &unlisted("wget"), Choice::AllOfType), (true, true), "only that one");
        assert_eq!(answer(&mut session, &unlisted("ssh"), Choice::Deny), (true, false), "all of its type");
        let path = Question { kind: PermissionKind::Env, ..unlisted("PATH") };
        assert_eq!(answer(&mut session, &path, Choice::DenyAll), (false, true), "another type");
        let ifs = Question { kind: PermissionKind::Env, ..unlisted("IFS") };
        assert_eq!(answer(&mut session, &ifs, Choice::Once), (false, false), "all of its type");
        assert_eq!(answer(&mut session, &unlisted("scp"), Choice::Deny), (true, false));
    }

    #[test]
    fn a_denial_of_all_beats_what_was_allowed_before_it() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Session), (true, true));
        assert_eq!(answer(&mut session, &unlisted("wget"), Choice::DenyAll), (false, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Once), (false, false));
    }

    #[test]
    fn what_cannot_be_known_is_asked_each_time_and_never_answered_by_a_flag() {
        let unknown = question("$CMD@3", PermissionReason::Unknown);
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::AllOfType), (true, true));
        assert_eq!(answer(&mut session, &unknown, Choice::Session), (true, true), "not offered: once");
        assert_eq!(answer(&mut session, &unknown, Choice::AllOfType), (true, true), "asked again");
        assert_eq!(answer(&mut session, &unknown, Choice::Deny), (false, true), "and again");
        for choice in ["s", "a"] {
            assert_eq!(Choice::parse(choice, &unknown), None);
        }
        let given = session.answer(&unknown, Answers::Yes, |_| panic!("not asked"));
        assert!(matches!(given, Given::Denied(why) if why.contains("-y")));
        assert_eq!(unknown.flag(), None);
    }

    #[test]
    fn yes_allows_what_is_unlisted_and_nobody_denies_everything() {
        let given = |answers| Session::default().answer(&unlisted("curl"), answers, |_| panic!("not asked"));
        assert!(matches!(given(Answers::Yes), Given::Allowed(answer) if answer.answer == "allowed by -y"));
        assert_eq!(given(Answers::Nobody("no terminal")), Given::Denied("no terminal".to_owned()));
        let built_in = question("rm", PermissionReason::BuiltInDeny);
        let given = Session::default().answer(&built_in, Answers::Yes, |_| panic!("not asked"));
        assert!(matches!(given, Given::Denied(_)));
    }

    #[test]
    fn only_what_is_offered_is_an_answer() {
        let question = unlisted("curl");
        for (typed, choice) in [
            ("o", Choice::Once),
            (" S \n", Choice::Session),
            ("a", Choice::AllOfType),
            ("d\n", Choice::Deny),
            ("n", Choice::DenyAll),
        ] {
            assert_eq!(Choice::parse(typed, &question), Some(choice), "{typed:?}");
        }
        for typed in ["", "\n", "y", "yes", "oo", "\x1b[Ao", "o o", "once"] {
            assert_eq!(Choice::parse(typed, &question), None, "{typed:?}");
        }
    }

    #[test]
    fn a_runbook_cannot_forge_what_is_asked() {
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
        let long = Question { what: "\u{e9}".repeat(500), ..unlisted("x") };
        assert!(long.recorded().len() < 300);
    }
}
