//! The rule behind a decision of policy, and its description in words.

use std::{fmt, sync::Arc};

use crate::{ListEntry, ListSide, Mode, RuleOrigin, WithOrigin, policy::lists::word};
use documents::{PermissionKind, Program};

/// Rule behind a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppliedRule {
    /// A pattern in a list of the policy.
    Listed {
        /// Kind of the command, path or variable.
        kind: PermissionKind,
        /// List that contains the pattern.
        side: ListSide,
        /// The pattern as written.
        pattern: Arc<str>,
        /// Origin of the pattern.
        origin: RuleOrigin,
    },
    /// No list matches the name, so the mode decides.
    Unlisted {
        /// The mode with its origin.
        mode: WithOrigin<Mode>,
        /// True if a list allows the base name of the command, but the command's path is outside the program
        /// directories of the system.
        elsewhere: bool,
        /// True if `--deny-all` changed the answer to a denial.
        deny_all: bool,
    },
    /// A program that every list of the policy contains (`sandbox.programs.allow`).
    NamedProgram {
        /// The entry.
        name: Program,
        /// Origin of the entry.
        origin: RuleOrigin,
    },
    /// The programs that the command starts are not known before the run, but the kernel executes only the listed
    /// programs.
    OnlyListed,
    /// The command is not known before the run.
    Unknown {
        /// Reason, in words.
        why: &'static str,
        /// Mode, which may deny the command.
        mode: WithOrigin<Mode>,
        /// A pattern of a deny list, with the kind of the list, if the command is denied because it may be denied by it.
        denied: Option<(PermissionKind, ListEntry)>,
        /// True if `--deny-all` changed the answer to a denial.
        deny_all: bool,
    },
    /// A function that the script itself defines.
    Function,
    /// A variable that changes no command, because of its value.
    Harmless,
    /// The option `--allow-all`.
    AllowAll,
}

impl fmt::Display for AppliedRule {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let deny_all = match self {
            Self::Listed {
                kind,
                side,
                pattern,
                origin,
            } => {
                return write!(f, "{}.{} {pattern:?}, {origin}", word(*kind), side.word());
            }
            Self::Unlisted {
                mode,
                elsewhere,
                deny_all,
            } => {
                f.write_str("not listed")?;
                if *elsewhere {
                    f.write_str(" (a list allows this name, but only in system directories)")?;
                }
                write!(f, ", mode {}, {}", mode.value.word(), mode.origin)?;
                *deny_all
            }
            Self::Unknown {
                why,
                mode,
                denied,
                deny_all,
            } => {
                write!(f, "unknown: {why}")?;
                if let Some((kind, ListEntry { listed, origin })) = denied {
                    write!(
                        f,
                        "; policy denies commands: {}.deny {:?}, {origin}",
                        word(*kind),
                        listed.text()
                    )?;
                }
                if mode.value == Mode::Deny {
                    write!(f, ", mode deny, {}", mode.origin)?;
                }
                *deny_all
            }
            Self::NamedProgram { name, origin } => {
                return write!(f, "sandbox.programs.allow {:?}, {origin}", name.as_str());
            }
            Self::OnlyListed => return f.write_str("only listed programs can start"),
            Self::Function => return f.write_str("a function of this script"),
            Self::Harmless => return f.write_str("the value changes no command"),
            Self::AllowAll => return f.write_str("--allow-all"),
        };
        f.write_str(if deny_all {
            "; --deny-all denies it"
        } else {
            ""
        })
    }
}
