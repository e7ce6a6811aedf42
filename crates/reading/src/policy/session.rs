//! The answers of a person at a terminal, for one session.
//!
//! A session is one call of `countersign run`, or the session of one page of `countersign open`. The program asks the
//! questions one after another until a denial, and asks no question again that was answered for the session. An unknown
//! command can be allowed only once, because the same text may run another command the next time.

use std::collections::BTreeSet;

use documents::{Permission, PermissionKind, PermissionReason};

documents::words! {
    /// Possible answers of a person to a question.
    pub enum AnswerChoice {
        /// Allow once.
        Once = "allow once",
        /// Allow in this session.
        Session = "allow this session",
        /// Allow everything of this kind in this session, except unknown commands.
        AllOfType = "allow all of this type this session",
        /// Deny once.
        Deny = "deny once",
        /// Deny everything of this kind in this session.
        DenyAll = "deny all of this type this session",
    }
}

impl AnswerChoice {
    /// Returns the answers that a question offers, depending on its reason.
    pub fn offered(why: PermissionReason) -> &'static [Self] {
        match why {
            PermissionReason::Unknown => &[Self::Once, Self::Deny, Self::DenyAll],
            PermissionReason::Unlisted | PermissionReason::BuiltInDeny => &[
                Self::Once,
                Self::Session,
                Self::AllOfType,
                Self::Deny,
                Self::DenyAll,
            ],
        }
    }
}

/// Answers to questions that the session has not answered.
#[derive(Clone, Copy)]
pub struct DefaultAnswers {
    /// True for `-y`, which allows unlisted commands, paths and variables, but no unknown commands.
    pub yes: bool,
    /// Reason why no person can be asked, so that every question is denied, or `None` if a person can answer.
    pub nobody: Option<&'static str>,
}

/// Answer to a question.
#[derive(Debug, PartialEq)]
pub enum AnswerGiven {
    /// Allowed, with the text of the answer.
    Allowed(&'static str),
    /// Denied, with the reason.
    Denied(&'static str),
    /// Denied, because the person denied everything of this kind earlier in the session.
    DeniedWithAll,
}

/// Answers of a person that are valid for the whole session.
#[derive(Default)]
pub struct Session {
    /// Allowed names, each with the text of its permission kind.
    allowed: BTreeSet<(&'static str, String)>,
    all: BTreeSet<&'static str>,
    none: BTreeSet<&'static str>,
}

impl Session {
    /// Answers a question with the earlier answer of the session, or else with `-y`, or else with the person's choice
    /// from `ask`.
    pub fn answer(
        &mut self,
        question: &Permission,
        answers: DefaultAnswers,
        ask: impl FnOnce() -> AnswerChoice,
    ) -> AnswerGiven {
        let Permission { kind, what, why } = question;
        let kind = kind.word();
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
            // These two choices are not offered for an unknown command. If `ask` returns one, the command is allowed
            // once.
            AnswerChoice::Session | AnswerChoice::AllOfType => {
                return AnswerGiven::Allowed(AnswerChoice::Once.word());
            }
            AnswerChoice::Deny => return AnswerGiven::Denied("you denied this"),
            AnswerChoice::DenyAll => {
                self.none.insert(kind);
                return AnswerGiven::Denied("you denied this, and everything of this type");
            }
        }
        AnswerGiven::Allowed(choice.word())
    }
}

/// Returns the plural noun for a permission kind.
pub fn plural(kind: PermissionKind) -> &'static str {
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
        Permission {
            kind: PermissionKind::Run,
            what: what.to_owned(),
            why,
        }
    }

    fn unlisted(what: &str) -> Permission {
        question(what, PermissionReason::Unlisted)
    }

    const PERSON: DefaultAnswers = DefaultAnswers {
        yes: false,
        nobody: None,
    };

    /// Answers a question with `choice`. Returns whether the answer allows the request, and whether `choice` was used.
    fn answer(session: &mut Session, question: &Permission, choice: AnswerChoice) -> (bool, bool) {
        let mut asked = false;
        let given = session.answer(question, PERSON, || {
            asked = true;
            choice
        });
        (matches!(given, AnswerGiven::Allowed(_)), asked)
    }

    #[test]
    fn a_denial_of_a_whole_permission_kind_overrides_earlier_answers() {
        let mut session = Session::default();
        assert_eq!(
            answer(&mut session, &unlisted("curl"), AnswerChoice::Session),
            (true, true)
        );
        assert_eq!(
            answer(&mut session, &unlisted("wget"), AnswerChoice::DenyAll),
            (false, true)
        );
        assert_eq!(
            answer(&mut session, &unlisted("curl"), AnswerChoice::Once),
            (false, false)
        );
        let yes = DefaultAnswers {
            yes: true,
            ..PERSON
        };
        assert_eq!(
            session.answer(&unlisted("jq"), yes, || panic!("not asked")),
            AnswerGiven::DeniedWithAll
        );
    }

    #[test]
    fn an_unknown_command_is_asked_each_time_and_never_allowed_by_a_flag() {
        let unknown = question("$CMD@3", PermissionReason::Unknown);
        let mut session = Session::default();
        assert_eq!(
            answer(&mut session, &unlisted("curl"), AnswerChoice::AllOfType),
            (true, true)
        );
        assert_eq!(
            answer(&mut session, &unknown, AnswerChoice::Session),
            (true, true),
            "not offered: once"
        );
        assert_eq!(
            answer(&mut session, &unknown, AnswerChoice::AllOfType),
            (true, true),
            "asked again"
        );
        assert_eq!(
            answer(&mut session, &unknown, AnswerChoice::Deny),
            (false, true),
            "and again"
        );
        let mut asked = false;
        let given = session.answer(
            &unknown,
            DefaultAnswers {
                yes: true,
                nobody: None,
            },
            || {
                asked = true;
                AnswerChoice::Deny
            },
        );
        assert_eq!(
            (given, asked),
            (AnswerGiven::Denied("you denied this"), true),
            "-y leaves it to the person"
        );
        let nobody = DefaultAnswers {
            yes: true,
            nobody: Some("no terminal"),
        };
        assert_eq!(
            session.answer(&unknown, nobody, || panic!("not asked")),
            AnswerGiven::Denied("no terminal")
        );
    }
}
