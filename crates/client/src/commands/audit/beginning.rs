//! The beginning of an audit: the trusted roster that is connected with the log, and the heads that were seen before.

use crate::{
    ChosenTrust, CommandFailure, CommandResult, DecidingRoster, Exit, Home, LogSource,
    NewestRoster, PrintableText, contradicts_log, each_entry, home::roster_versions::join,
    newest_of, newest_unconnected, seem_same, trust_advice,
};
use documents::{Base64, Envelope, RosterDigest};
use verdict::{
    Auditor, Expected, Finding, FindingKind, LogEntry, Pinned, SeenHead, payload_of, rosters_in,
};

/// Creates an auditor for the whole log. The auditor uses the newest trusted roster that is connected with the rosters
/// of the log.
pub fn begin(
    place: &LogSource,
    trust: &[ChosenTrust],
    expected: &Expected,
    size: u64,
) -> CommandResult<Result<Auditor, NotBegun>> {
    let first = place.entries(0, size)?.into_iter().next();
    let Some(first) = first else {
        return Err(said_no("the log is empty: there is nothing to audit"));
    };
    let versions =
        rosters_in(&LogEntry::of(first), place).map_err(|error| place.unreadable(error))?;
    if trust.is_empty() {
        let message = "there is no trusted roster: give one with --roster".to_owned();
        let first = versions.as_deref().and_then(|versions| versions.first());
        let first = first.and_then(|version| payload_of(version, Base64::Strict).ok());
        let first = first.map(|payload| RosterDigest::of(&payload));
        return Ok(Err(NotBegun::Untrusted(UntrustedLog { message, first })));
    }
    let Some(versions) = versions else {
        let message = "the first entry is no readable seal, or its roster is missing or changed, so no later entry \
                       can be checked: get another copy of the log";
        return Ok(Err(NotBegun::Broken(Finding::at(
            FindingKind::SealedState,
            0,
            message,
        ))));
    };
    let new = |trust: &ChosenTrust, versions: &[Envelope]| {
        Auditor::new(trust.pinned.clone(), versions, expected.clone())
    };
    let mut joined = join(trust, &versions);
    let mut chosen = choose(&joined, |trust| new(trust, &versions));
    let mut longest = versions.clone();
    // A trusted roster may be newer than the roster in the first seal. Later seals of the log contain the versions
    // between these two rosters.
    if chosen.as_ref().map_or(true, may_be_newer)
        && let Some(later) = later_rosters(place, size, versions.len())?
    {
        drop(chosen);
        joined = join(trust, &later);
        chosen = choose(&joined, |trust| {
            new(trust, &later).or_else(|_| new(trust, &versions))
        });
        longest = later;
    }
    Ok(match chosen {
        Ok(deciding) => {
            let known: Vec<_> = [deciding.trust]
                .into_iter()
                .chain(deciding.unconnected.iter().copied())
                .collect();
            match contradicts_log(&known, &longest) {
                Some(why) => Err(NotBegun::Broken(Finding::at(
                    FindingKind::RosterChain,
                    0,
                    why,
                ))),
                None => Ok(left_to_newer(deciding)),
            }
        }
        Err(refused) if refused.iter().any(|(_, error)| !error.is_of_trust()) => {
            let broken = refused
                .iter()
                .map(|(_, error)| error)
                .find(|error| !error.is_of_trust());
            let why = broken.map_or_else(String::new, ToString::to_string);
            Err(NotBegun::Broken(Finding::at(
                FindingKind::RosterChain,
                0,
                why,
            )))
        }
        Err(refused) => {
            let why = refused.last().map_or_else(String::new, |(trust, error)| {
                contradicts_log(&[*trust], &longest)
                    .unwrap_or_else(|| format!("{}: {error}", trust.from))
            });
            // The message does not propose to trust the roster of the log, because an attacker could have replaced this
            // roster.
            Err(NotBegun::Untrusted(UntrustedLog {
                message: why,
                first: None,
            }))
        }
    })
}

pub fn choose<'t, E>(
    trust: &'t [ChosenTrust],
    mut begin: impl FnMut(&'t ChosenTrust) -> Result<Auditor, E>,
) -> Result<DecidingRoster<'t, Auditor>, Vec<(&'t ChosenTrust, E)>> {
    newest_of(trust, |trust| {
        begin(trust).map(|auditor| (NewestRoster::of(auditor.rosters()), auditor))
    })
}

/// Returns true if another trusted roster may be a later version of this roster.
fn may_be_newer(deciding: &DecidingRoster<'_, Auditor>) -> bool {
    let newest = deciding.found.rosters().newest();
    deciding
        .unconnected
        .iter()
        .any(|trust| match &trust.pinned {
            Pinned::Digest(_) => true,
            Pinned::Roster(roster) => roster.version() > 1 && seem_same(roster, newest),
            Pinned::Chain(_) => false,
        })
}

/// Tells the auditor about a newer trusted roster that is not connected with the log. The auditor then leaves each
/// check that needs the newest roster *not checked*.
pub fn left_to_newer(deciding: DecidingRoster<'_, Auditor>) -> Auditor {
    let DecidingRoster {
        found: mut auditor,
        unconnected,
        ..
    } = deciding;
    let newer = newest_unconnected(&unconnected, |roster| {
        seem_same(roster, auditor.rosters().newest())
    });
    if let Some((trust, newer)) = newer {
        auditor.leave_to(newer, &trust.from);
    }
    auditor
}

/// Returns the longest chain of roster versions in any seal of the log, if it has more than `known` versions.
fn later_rosters(
    place: &LogSource,
    size: u64,
    known: usize,
) -> CommandResult<Option<Vec<Envelope>>> {
    let mut longest: Option<Vec<Envelope>> = None;
    each_entry(place, 0, size, |entry| {
        if let Some(versions) = rosters_in(entry, place).map_err(|error| place.unreadable(error))?
            && versions.len() > longest.as_ref().map_or(known, Vec::len)
        {
            longest = Some(versions);
        }
        Ok(())
    })?;
    Ok(longest)
}

/// Reason why an audit could not begin.
pub enum NotBegun {
    /// There is no trusted roster, or no trusted roster is connected with the log.
    Untrusted(UntrustedLog),
    /// The first seal or its roster is invalid under every trusted roster.
    Broken(Finding),
}

#[derive(Debug)]
pub struct UntrustedLog {
    pub(super) message: String,
    pub(super) first: Option<RosterDigest>,
}

/// Adds the heads that are stored beside the log to what this audit expects, and returns a finding for each damaged one.
pub fn expect_kept_heads(
    place: &LogSource,
    expected: &mut Expected,
) -> CommandResult<Vec<Finding>> {
    let mut damaged = Vec::new();
    for (name, note) in place.kept_heads()? {
        match SeenHead::parse(&note, format!("the stored head {name}")) {
            Ok(seen) if name.ends_with(&format!("/{}", seen.size)) => expected.heads.push(seen),
            Ok(seen) => {
                let why = format!(
                    "the stored head {name} is a head of {} entries: the name of its file was changed",
                    seen.size
                );
                damaged.push(Finding::whole(FindingKind::Checkpoint, why));
            }
            Err(why) => damaged.push(Finding::whole(
                FindingKind::Checkpoint,
                format!("the stored head {name} is invalid: {why}"),
            )),
        }
    }
    Ok(damaged)
}

impl NotBegun {
    /// Returns the result of the command.
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Untrusted(_) => Exit::NoTrust,
            Self::Broken(_) => Exit::CheckSaidNo,
        }
    }

    /// Returns the reason, as the command prints it.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Untrusted(untrusted) => {
                let (message, advice) = untrusted.words();
                format!("nothing was audited: {message}; {advice}")
            }
            Self::Broken(Finding { what, detail, .. }) => {
                format!("nothing was audited: entry 0, {what}: {detail}")
            }
        }
    }
}

impl UntrustedLog {
    /// Returns the reason and the advice, as the command prints them.
    pub(super) fn words(&self) -> (&str, String) {
        let advice = trust_advice(self.first, &Home::of_process().config_words())
            .replace(
                "the boundary names the roster",
                "the log begins with the roster",
            )
            .replace("than this boundary", "than this log");
        (&self.message, advice)
    }
}

/// Returns the size of the log in the head.
pub fn size_of(head: &str) -> CommandResult<u64> {
    let seen = SeenHead::parse(head, "the log");
    seen.map(|seen| seen.size)
        .map_err(|why| said_no(format!("the log's head: {why}")))
}

pub fn no_log(named: &str) -> CommandFailure {
    let shown = PrintableText::text(named);
    said_no(format!(
        "{shown} has no checkpoint, so this directory is no log, or an incomplete export"
    ))
}

pub fn said_no(message: impl std::fmt::Display) -> CommandFailure {
    CommandFailure::check_said_no(message)
}
