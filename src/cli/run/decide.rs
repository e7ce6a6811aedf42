//! What policy says of a step, before anybody is asked.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::run::ground::Ground;
use crate::cli::run::prompt::{Answers, Occurrence, Question};
use crate::cli::run::runbook::{self, Chosen};
use crate::cli::screen::Shown;
use crate::cli::talk::Talk;
use crate::cli::trust::read_bounded;
use crate::crypto::digest::PolicyDigest;
use crate::policy::file::{Mode, Policy};
use crate::policy::{Ruling, resolve};
use crate::record::authorization::{PermissionKind, PermissionReason};
use crate::record::ident::StepRef;
use crate::record::local_receipt::Answer;

/// What is allowed and denied beforehand.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Policy")]
pub(super) struct RuleArgs {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// No policy and no sandbox
    #[arg(long)]
    allow_all: bool,
    /// Deny everything that is not allowed explicitly; beats --allow-all
    #[arg(long)]
    deny_all: bool,
    /// Allow what no list names, without asking; never what is denied, or can't be known before it runs
    #[arg(short, long)]
    yes: bool,
    /// Deny whatever would be asked; also where there is no terminal
    #[arg(long)]
    non_interactive: bool,
}

/// Policy, and the person's flags.
#[derive(Debug)]
pub(super) struct Rules {
    args: RuleArgs,
    policy: Policy,
    from: String,
}

impl RuleArgs {
    /// Whether policy is off.
    pub(super) const fn allows_all(&self) -> bool {
        self.allow_all && !self.deny_all
    }
}

impl Rules {
    pub(super) fn find(args: &RuleArgs, _ground: &Ground) -> Result<Self, Failure> {
        let (text, from) = match &args.policy {
            Some(path) => {
                let shown = Shown::text(&path.to_string_lossy()).as_str().to_owned();
                let bytes = read_bounded(path, 1 << 20)?;
                let text = String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{shown} is no text")))?;
                (text, shown)
            }
            None => ("version: 1\ndefault: {}\n".to_owned(), "built-in policy".to_owned()),
        };
        let policy = Policy::load(&text).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::usage(format!("nothing was run: {from}: {}", errors.join("; ")))
        })?;
        Ok(Self { args: args.clone(), policy, from })
    }

    pub(super) fn ruling(&self, step: &StepRef) -> Ruling {
        resolve(&self.policy, step)
    }

    pub(super) fn decide(&self, ruling: &Ruling, chosen: &Chosen, shown: &str) -> Result<Vec<Question>, Failure> {
        if self.args.allows_all() {
            return Ok(Vec::new());
        }
        let definition = &chosen.step.definition;
        let at = runbook::at(shown, chosen.fence_line, 1, 1);
        if ruling.mode.value == Mode::Deny || self.args.deny_all {
            return Err(Failure::new(
                Exit::Refused,
                format!("nothing of {} was run: {at}: denied by {}", definition.reference, ruling.mode.origin),
            ));
        }
        if ruling.mode.value == Mode::Execute {
            return Ok(Vec::new());
        }
        Ok(vec![Question {
            kind: PermissionKind::Run,
            what: definition.interpreter.clone(),
            why: PermissionReason::Unlisted,
            places: vec![Occurrence { at, via: Vec::new() }],
        }])
    }

    pub(super) fn allows_variable(&self, _ruling: &Ruling, _name: &str) -> bool {
        self.args.allows_all()
    }

    pub(super) fn answers(&self) -> Answers {
        if self.args.non_interactive {
            Answers::Nobody("--non-interactive denies whatever would be asked")
        } else if self.args.yes {
            Answers::Yes
        } else if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            Answers::Person
        } else {
            Answers::Nobody("there is no terminal to ask at")
        }
    }

    pub(super) fn given_beforehand(&self) -> Vec<Answer> {
        let mut given = Vec::new();
        if self.args.allows_all() {
            given.push(Answer { question: "policy".to_owned(), answer: "none (--allow-all)".to_owned() });
        }
        given
    }

    pub(super) fn say_what_is_off(&self, talk: &Talk) {
        if self.args.allows_all() {
            talk.say("WARNING: --allow-all: NO POLICY. Nothing is asked, nothing is denied");
        }
    }

    pub(super) const fn digest(&self) -> PolicyDigest {
        self.policy.digest()
    }

    pub(super) fn from(&self) -> &str {
        &self.from
    }
}
