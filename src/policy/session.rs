//! The answers of a person at a terminal, for one session.
//!
//! The program asks the questions one after another, until the person denies a question. The program does not repeat a
//! question that was answered for the session. A session is one call of `countersign run`, and no answer outlives the
//! session. An unknown command can be allowed only once, because the same text may run another command the next time.

use std::collections::BTreeSet;

use crate::policy::lists::word;
use crate::record::authorization::{Permission, PermissionKind, PermissionReason};

/// Possible answers of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Allow once.
    Once,
    /// Allow in this session.
    Session,
    /// Allow everything of this type in this session, except unknown commands.
    AllOfType,
    /// Deny once.
    Deny,
    /// Deny everything of this type in this session.
    DenyAll,
}

impl Choice {
    /// Returns the answers that a question offers, depending on its reason.
    #[must_use]
    pub const fn offered(why: PermissionReason) -> &'static [Self] {
        match why {
            PermissionReason::Unknown => &[Self::Once, Self::Deny, Self::DenyAll],
            PermissionReason::Unlisted | PermissionReason::BuiltInDeny => {
                &[Self::Once, Self::Session, Self::AllOfType, Self::Deny, Self::DenyAll]
            }
        }
    }

    /// Returns the text for the receipt.
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

/// Source of the answers, if the session has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// True if `-y` is set. `-y` allows unlisted things, but no unknown commands.
    pub yes: bool,
    /// Reason why no person can be asked. If there is a reason, every question for a person is denied.
    pub nobody: Option<&'static str>,
}

/// Result of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// Allowed, with the receipt's text.
    Allowed(&'static str),
    /// Denied, with the reason.
    Denied(&'static str),
    /// Denied, because everything of this type was denied earlier in the session.
    DeniedWithAll,
}

/// Answers for the whole session.
#[derive(Debug, Default)]
pub struct Session {
    /// Allowed things, each with the key of its type.
    allowed: BTreeSet<(&'static str, String)>,
    all: BTreeSet<&'static str>,
    none: BTreeSet<&'static str>,
}

impl Session {
    /// Answers a question. Earlier answers of the session come first, then `-y`, then the person's choice from `ask`.
    pub fn answer(&mut self, question: &Permission, answers: Answers, ask: impl FnOnce() -> Choice) -> Given {
        let Permission { kind, what, why } = question;
        let kind = word(*kind);
        if self.none.contains(kind) {
            return Given::DeniedWithAll;
        }
        let is_known = *why != PermissionReason::Unknown;
        if is_known && self.allowed.contains(&(kind, what.clone())) {
            return Given::Allowed("allowed earlier in this session");
        }
        if is_known && self.all.contains(kind) {
            return Given::Allowed("allowed with all of this type earlier in this session");
        }
        if answers.yes && *why == PermissionReason::Unlisted {
            return Given::Allowed("allowed by -y");
        }
        if let Some(why) = answers.nobody {
            return Given::Denied(why);
        }
        let choice = ask();
        match choice {
            Choice::Once => {}
            Choice::Session if is_known => drop(self.allowed.insert((kind, what.clone()))),
            Choice::AllOfType if is_known => drop(self.all.insert(kind)),
            // These two choices are not offered for an unknown command. If `ask` returns one of them, the command is
            // allowed once.
            Choice::Session | Choice::AllOfType => return Given::Allowed(Choice::Once.recorded()),
            Choice::Deny => return Given::Denied("you denied it"),
            Choice::DenyAll => {
                self.none.insert(kind);
                return Given::Denied("you denied it, with all of its type");
            }
        }
        Given::Allowed(choice.recorded())
    }
}

/// Returns the plural noun for a type.
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

    const PERSON: Answers = Answers { yes: false, nobody: None };

    /// Answers a question with `choice`. The first value is true if the answer allows, the second if `choice` was used.
    fn answer(session: &mut Session, question: &Permission, choice: Choice) -> (bool, bool) {
        let mut asked = false;
        let given = session.answer(question, PERSON, || {
            asked = true;
            choice
        });
        (matches!(given, Given::Allowed(_)), asked)
    }

    #[test]
    fn each_answer_is_valid_for_its_stated_scope() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Once), (true, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Deny), (false, true), "once was once");
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Session), (true, true), "a denial was once too");
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Deny), (true, false), "for the session");
        assert_eq!(answer(&mut session, &unlisted("wget"), Choice::AllOfType), (true, true), "only that one");
        assert_eq!(answer(&mut session, &unlisted("ssh"), Choice::Deny), (true, false), "all of its type");
        let path = Permission { kind: PermissionKind::Env, ..unlisted("PATH") };
        assert_eq!(answer(&mut session, &path, Choice::DenyAll), (false, true), "another type");
        let ifs = Permission { kind: PermissionKind::Env, ..unlisted("IFS") };
        assert_eq!(answer(&mut session, &ifs, Choice::Once), (false, false), "all of its type");
        assert_eq!(answer(&mut session, &unlisted("scp"), Choice::Deny), (true, false));
    }

    #[test]
    fn a_denial_of_a_whole_type_overrides_earlier_answers() {
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Session), (true, true));
        assert_eq!(answer(&mut session, &unlisted("wget"), Choice::DenyAll), (false, true));
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::Once), (false, false));
        let yes = Answers { yes: true, ..PERSON };
        assert_eq!(session.answer(&unlisted("jq"), yes, || panic!("not asked")), Given::DeniedWithAll);
    }

    #[test]
    fn an_unknown_command_is_asked_each_time_and_never_allowed_by_a_flag() {
        let unknown = question("$CMD@3", PermissionReason::Unknown);
        let mut session = Session::default();
        assert_eq!(answer(&mut session, &unlisted("curl"), Choice::AllOfType), (true, true));
        assert_eq!(answer(&mut session, &unknown, Choice::Session), (true, true), "not offered: once");
        assert_eq!(answer(&mut session, &unknown, Choice::AllOfType), (true, true), "asked again");
        assert_eq!(answer(&mut session, &unknown, Choice::Deny), (false, true), "and again");
        let mut asked = false;
        let given = session.answer(&unknown, Answers { yes: true, nobody: None }, || {
            asked = true;
            Choice::Deny
        });
        assert_eq!((given, asked), (Given::Denied("you denied it"), true), "-y leaves it to the person");
        let nobody = Answers { yes: true, nobody: Some("no terminal") };
        assert_eq!(session.answer(&unknown, nobody, || panic!("not asked")), Given::Denied("no terminal"));
    }

    #[test]
    fn yes_allows_unlisted_commands_and_without_a_person_all_others_are_denied() {
        let given = |what: &Permission, yes, nobody| {
            Session::default().answer(what, Answers { yes, nobody }, || panic!("not asked"))
        };
        let built_in = question("rm", PermissionReason::BuiltInDeny);
        assert_eq!(given(&unlisted("curl"), true, None), Given::Allowed("allowed by -y"));
        assert_eq!(given(&unlisted("curl"), true, Some("no terminal")), Given::Allowed("allowed by -y"));
        assert_eq!(given(&unlisted("curl"), false, Some("no terminal")), Given::Denied("no terminal"));
        assert_eq!(given(&built_in, true, Some("no terminal")), Given::Denied("no terminal"));
    }
}
