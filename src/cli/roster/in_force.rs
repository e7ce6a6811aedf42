//! The roster in force of the boundary that the configuration names.

use crate::{
    ConfigArgs, NodeStatus,
    node::{roster_succession, rosters},
    read_policy,
};
use client::{CommandFailure, Terminal};
use documents::Envelope;
use verdict::TrustedRoster;
use workbench::problems;

/// Returns the roster in force from the running service or the files. Before the first start, this is the
/// draft of version 1.
///
/// # Errors
/// Returns all errors of the roster.
pub fn of_configuration(
    config: &ConfigArgs,
    terminal: &Terminal,
) -> Result<(TrustedRoster, Envelope), CommandFailure> {
    let config = config.load()?;
    // The sealed roster is in force, even if the files differ. A running boundary reports the version of the sealed
    // roster, and whether the files differ.
    let status = NodeStatus::ask(&config).ok().flatten();
    for note in status.iter().flat_map(|status| &status.ready.notes) {
        terminal.say(format!("note: {note}"));
    }
    let in_force = status.map(|status| status.ready.roster.digest);
    if let Some(waits) = roster_succession::waiting(&config) {
        terminal.say(&waits);
    }
    if let Some(chain) = rosters::chain(&config).map_err(problems)? {
        if let Some(known) = in_force.and_then(|digest| chain.by_digest(&digest))
            && known.version() < chain.last().version()
        {
            terminal.say(format!(
                "version {} is signed: {} to put it in force, or to see why it can't be",
                chain.last().version(),
                config.puts_in_force()
            ));
        }
        let all = chain.versions().iter().zip(chain.envelopes());
        let mut wanted =
            all.filter(|(roster, _)| in_force.is_none_or(|digest| digest == roster.digest()));
        if let Some((roster, envelope)) = wanted.next_back() {
            if in_force.is_none() && roster.version() > 1 {
                terminal
                    .say("the boundary does not serve: this is the newest signed version, which the next start seals");
            }
            return Ok((roster.clone(), envelope.clone()));
        }
    }
    if let Some(digest) = in_force {
        return Err(CommandFailure::usage(format!(
            "the roster in force is {digest}, and no file in {} contains it: start the boundary again, because the \
             start writes the sealed versions there",
            config.rosters.display()
        )));
    }
    let policy = read_policy(&config).map_err(problems)?;
    let first = rosters::newest(&config, Some(&policy)).map_err(problems)?;
    Ok((
        first.last().clone(),
        Envelope::new(first.last().payload(), Vec::new()),
    ))
}
