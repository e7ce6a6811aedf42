//! The `grant` command drafts, lists and shows standing grants.

pub mod draft;
pub mod grant_review;
pub mod signing;
mod varying_values;

use crate::{
    Client, CommandResult, Exit, GlobalOptions, GrantReview, KeyArgs, PagerChoice, PrintableText,
    Terminal, TrustArgs, fail_refused, fail_usage, fitted, show_chosen, with_header,
};
use documents::{GrantId, joined};
use wire::{GrantList, GrantView};

/// Draft, list and show standing grants: runs within limits, for which nobody is asked again.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign grant draft host:report --grantee deploy-bot --from-history 30d --uses 20 --for 7d
  countersign grant draft service:restart --grantee deploy-bot -p name=shop,cart --match 'tag=^v[0-9]+$' --uses 20 --for 7d
  countersign grant list                  also with --boundary all
  countersign grant show grt_…

An approver signs with `countersign approve grt_…`. The grantee uses the grant with `countersign propose … --grant grt_…`.
`countersign revoke grt_…` ends it.")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Draft a grant, which approvers then sign
    Draft(Box<draft::Args>),
    /// List the drafts and the grants whose end has not come
    List {
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Show what a grant permits; never signs
    Show {
        /// The id of the grant
        id: String,
        /// Show every signed field too
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        pager: PagerChoice,
        #[command(flatten)]
        trust: TrustArgs,
        #[command(flatten)]
        key: KeyArgs,
    },
}

/// Drafts, lists or shows grants.
///
/// # Errors
/// Returns an error if the boundary cannot be reached or refuses.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Draft(args) => draft::run(args, global, terminal),
        Command::List { key } => list(key, global, terminal),
        Command::Show {
            id,
            full,
            pager,
            trust,
            key,
        } => {
            let client = global.reviewer(key, terminal)?;
            show(id, &client, &global.trust(trust), (*pager, *full), terminal)
        }
    }
}

/// Shows a grant.
///
/// # Errors
/// Returns an error if there is no such grant.
pub fn show(
    id: &str,
    client: &Client,
    trust: &TrustArgs,
    (pager, full): (PagerChoice, bool),
    terminal: &Terminal,
) -> CommandResult {
    let view = find_grant(id, client)?;
    if terminal.json {
        terminal.object(&view)?;
        return Ok(Exit::Done);
    }
    let review = GrantReview::make(&view, client, &trust.find()?)?;
    review.show(terminal, pager, full)?;
    Ok(review.exit())
}

/// Returns true if an argument names a grant.
pub fn is_grant(name: &str) -> bool {
    name.starts_with("grt_")
}

/// Finds a grant by its id, or by `grt_` and the last digits of its id.
///
/// # Errors
/// Returns an error if no grant or more than one grant matches, or if the boundary returns another grant.
pub fn find_grant(name: &str, client: &Client) -> CommandResult<GrantView> {
    if let Ok(id) = name.parse::<GrantId>() {
        let view: GrantView = client.get(&format!("/v1/grants/{id}"))?;
        if view.id != id {
            let detail = format!(
                "this command requested {id}, but the boundary returned {}",
                view.id
            );
            return fail_refused(detail);
        }
        return Ok(view);
    }
    let ending = name.trim_start_matches("grt_");
    let all: GrantList = client.get("/v1/grants")?;
    let mut found = all
        .grants
        .into_iter()
        .filter(|view| ending.len() >= 6 && view.id.as_str().ends_with(ending));
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view),
        (Some(_), Some(_)) => {
            fail_usage("several grants have ids that end with these digits: give more")
        }
        (None, _) => fail_usage(format!(
            "there is no grant {}: give its id, or grt_ and at least 6 of its last digits (`countersign grant list`)",
            PrintableText::text(name)
        )),
    }
}

/// Names of the columns of a list of grants.
pub const HEADER: [&str; 6] = ["ID", "STATUS", "GRANTEE", "USES", "UNTIL", "STEPS"];

/// Returns the columns of a grant in a list.
pub fn cells(view: &GrantView) -> [String; 6] {
    let steps = view.grant.steps.iter().map(|step| &step.reference);
    let status = match &view.why {
        Some(why) => format!("{} ({})", view.status, why.code),
        None => view.status.to_string(),
    };
    [
        view.id.to_string(),
        status,
        view.grant.grantee.to_string(),
        format!("{} of {}", view.uses, view.grant.max_uses),
        view.grant.expires_at.to_string(),
        joined(steps, " "),
    ]
}

fn list(key: &KeyArgs, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let read = |one: &GlobalOptions| one.reviewer(key, terminal)?.get::<GrantList>("/v1/grants");
    show_chosen(global, terminal, read, |_, all| {
        if all.grants.is_empty() {
            terminal.say("there are no grants");
            return Ok(());
        }
        let rows = with_header(HEADER, all.grants.iter().map(cells));
        terminal.put(fitted(&rows, terminal.table_width(), 5))
    })
}
