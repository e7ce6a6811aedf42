//! What becomes of a question at a terminal: the answers of one session.
//!
//! Questions are answered one after another until one is denied; what was answered for the session is not asked again.
//! A session is one call of `countersign run`: nothing is kept beyond it. What can't be known before running is allowed
//! once at the most: the same words may be another thing the next time.

use std::collections::BTreeSet;

use crate::policy::lists::word;
use crate::record::authorization::{Permission, PermissionKind, PermissionReason};

/// What a person can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerChoice {
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

impl AnswerChoice {
    /// Every choice that a question offers, by why it is asked.
    #[must_use]
    pub const fn offered(why: PermissionReason) -> &'static [Self] {
        match why {
            PermissionReason::Unknown => &[Self::Once, Self::Deny, Self::DenyAll],
            PermissionReason::Unlisted | PermissionReason::BuiltInDeny => {
                &[Self::Once, Self::Session, Self::AllOfType, Self::Deny, Self::DenyAll]
            }
        }
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
pub struct DefaultAnswers {
    /// `-y`: what is unlisted is allowed, never what is unknown.
    pub yes: bool,
    /// Why nobody can be asked, in words: everything that would be asked is denied.
    pub nobody: Option<&'static str>,
}

/// How a question came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerGiven {
    /// Allowed, in the words of a receipt.
    Allowed(&'static str),
    /// Denied, and why in words.
    Denied(&'static str),
    /// All of its type were denied before, for the session.
    DeniedWithAll,
}

/// What was answered for the whole session.
#[derive(Debug, Default)]
pub struct Session {
    /// By the word of their type.
    allowed: BTreeSet<(&'static str, String)>,
    all: BTreeSet<&'static str>,
    none: BTreeSet<&'static str>,
}

impl Session {
    /// Answers a question: from what was answered before, else by `-y`, else by the person, whom `ask` asks.
    pub fn answer(
        &mut self,
        question: &Permission,
        answers: DefaultAnswers,
        ask: impl FnOnce() -> AnswerChoice,
    ) -> AnswerGiven {
        let Permission { kind, what, why } = question;
        let kind = word(*kind);
        if self.none.contains(kind) {
            return AnswerGiven::DeniedWithAll;
        }
        let is_known = *why != PermissionReason::Unknown;
        if is_known && self.allowed.contains(&(kind, what.clone())) {
            return AnswerGiven::Allowed("allowed earlier in this session");
        }
        if is_known && self.all.contains(kind) {
            return AnswerGiven::Allowed("allowed with all of this type earlier in this session");
        }
        if answers.yes && *why == PermissionReason::Unlisted {
            return AnswerGiven::Allowed("allowed by -y");
        }
        if let Some(why) = answers.nobody {
            return AnswerGiven::Denied(why);
        }
        let choice = ask();
        match choice {
            AnswerChoice::Once => {}
            AnswerChoice::Session if is_known => drop(self.allowed.insert((kind, what.clone()))),
            AnswerChoice::AllOfType if is_known => drop(self.all.insert(kind)),
            // Not offered for what can't be known: once, if whoever asked gave it all the same.
            AnswerChoice::Session | AnswerChoice::AllOfType => {
                return AnswerGiven::Allowed(AnswerChoice::Once.recorded());
            }
            AnswerChoice::Deny => return AnswerGiven::Denied("you denied it"),
            AnswerChoice::DenyAll => {
                self.none.insert(kind);
                return AnswerGiven::Denied("you denied it, with all of its type");
            }
        }
        AnswerGiven::Allowed(choice.recorded())
    }
}

/// Things of a type, in words.
#[must_use]
pub const fn plural(kind: PermissionKind) -> &'static str {
    match kind {
        PermissionKind::Run => "commands",
        PermissionKind::Read => "paths to read",
        PermissionKind::Write => "paths to write",
        PermissionKind::Env => "variables",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(what: &str, why: PermissionReason) -> Permission {
        Permission { kind: PermissionKind::Run, what: what.to_owned(), why }
    }

    fn unlisted(what: &str) -> Permission {
        question(what, PermissionReason::Unlisted)
    }

    const PERSON: DefaultAnswers = DefaultAnswers { yes: false, nobody: None };

    /// Answers with `choice`, and tells whether it was asked at all.
    fn answer(session: &mut Session, question: &Permission, choice: AnswerChoice) -> (bool, bool) {
        let mut asked = false;
        let given = session.answer(question, PERSON, || {
            asked = true;
            choice
        });
        (matches!(given, AnswerGiven::Allowed(_)), asked)
    }

    #[test]
    fn each_answer_holds_as_long_as_it_says() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::Once), (true, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::Deny), (false, true), "once was once");
        assert_eq!(
            answer(&mut session, &unlisted("curl"), AnswerChoice::Session),
            (true, true),
            "a denial was once too"
        );
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::Deny), (true, false), "for the session");
        assert_eq!(answer(&mut session, &unlisted("wget"), AnswerChoice::AllOfType), (true, true), "only that one");
        assert_eq!(answer(&mut session, &unlisted("ssh"), AnswerChoice::Deny), (true, false), "all of its type");
        let path = Permission { kind: PermissionKind::Env, ..unlisted("PATH") };
        assert_eq!(answer(&mut session, &path, AnswerChoice::DenyAll), (false, true), "another type");
        let ifs = Permission { kind: PermissionKind::Env, ..unlisted("IFS") };
        assert_eq!(answer(&mut session, &ifs, AnswerChoice::Once), (false, false), "all of its type");
        assert_eq!(answer(&mut session, &unlisted("scp"), AnswerChoice::Deny), (true, false));
    }

    #[test]
    fn a_denial_of_all_beats_what_was_allowed_before_it() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::Session), (true, true));
        assert_eq!(answer(&mut session, &unlisted("wget"), AnswerChoice::DenyAll), (false, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::Once), (false, false));
        let yes = DefaultAnswers { yes: true, ..PERSON };
        assert_eq!(session.answer(&unlisted("jq"), yes, || panic!("not asked")), AnswerGiven::DeniedWithAll);
    }

    #[test]
    fn what_cannot_be_known_is_asked_each_time_and_never_answered_by_a_flag() {
        let unknown = question("$CMD@3", PermissionReason::Unknown);
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), AnswerChoice::AllOfType), (true, true));
        assert_eq!(answer(&mut session, &unknown, AnswerChoice::Session), (true, true), "not offered: once");
        assert_eq!(answer(&mut session, &unknown, AnswerChoice::AllOfType), (true, true), "asked again");
        assert_eq!(answer(&mut session, &unknown, AnswerChoice::Deny), (false, true), "and again");
        let mut asked = false;
        let given = session.answer(&unknown, DefaultAnswers { yes: true, nobody: None }, || {
            asked = true;
            AnswerChoice::Deny
        });
        assert_eq!((given, asked), (AnswerGiven::Denied("you denied it"), true), "-y leaves it to the person");
        let nobody = DefaultAnswers { yes: true, nobody: Some("no terminal") };
        assert_eq!(session.answer(&unknown, nobody, || panic!("not asked")), AnswerGiven::Denied("no terminal"));
    }

    #[test]
    fn yes_allows_what_is_unlisted_and_nobody_denies_everything_else() {
        let given = |what: &Permission, yes, nobody| {
            Session::default().answer(what, DefaultAnswers { yes, nobody }, || panic!("not asked"))
        };
        let built_in = question("rm", PermissionReason::BuiltInDeny);
        assert_eq!(given(&unlisted("curl"), true, None), AnswerGiven::Allowed("allowed by -y"));
        assert_eq!(given(&unlisted("curl"), true, Some("no terminal")), AnswerGiven::Allowed("allowed by -y"));
        assert_eq!(given(&unlisted("curl"), false, Some("no terminal")), AnswerGiven::Denied("no terminal"));
        assert_eq!(given(&built_in, true, Some("no terminal")), AnswerGiven::Denied("no terminal"));
    }
}
