//! Compares the audited log with another copy of the log.

use crate::{CommandFailure, CommandResult, LogSource, each_entry};
use documents::{Checkpoint, Frontier, TILE_HEIGHT, TILE_WIDTH, TileKind, hex, merkle};
use verdict::{Auditor, Finding, FindingKind, SeenHead};

/// Checks with the tiles of a longer copy that the copy begins with the audited log.
pub fn compare(
    auditor: &Auditor,
    head: &str,
    other: &LogSource,
    seen: &SeenHead,
) -> CommandResult<Option<Finding>> {
    let there = match auditor.verify_head(&seen.note) {
        Ok(there) => Ok(there),
        Err(why) => later_head(auditor, other, seen)?
            .or_else(|_| by_its_own_seals(auditor, other, seen).ok_or(why)),
    };
    let (here, there) = match auditor
        .verify_head(head)
        .and_then(|here| Ok((here, there?)))
    {
        Ok(heads) => heads,
        Err(why) => {
            return Ok(Some(Finding::whole(
                FindingKind::Checkpoint,
                format!("{}: {why}", seen.from),
            )));
        }
    };
    let path = merkle::consistency_path(here.size, there.size, |level, index| {
        subtree(other, level, index, there.size)
    })?;
    let path = path.unwrap_or_default();
    Ok(
        match merkle::verify_consistency(here.size, &here.root, there.size, &there.root, &path) {
            Ok(_) => None,
            Err(error) => {
                let message = format!(
                    "{} has a head of {} entries, and these entries do not begin with the {} entries of this log \
                 ({error}): the boundary showed two histories, or one of the two copies was changed; keep both \
                 heads (here {})",
                    seen.from,
                    there.size,
                    here.size,
                    hex(&here.root)
                );
                Some(Finding::whole(FindingKind::Fork, message))
            }
        },
    )
}

/// Verifies the head of a longer copy of the log. If the boundary has a new key, the later seals of the longer copy
/// name this key.
fn later_head(
    auditor: &Auditor,
    other: &LogSource,
    seen: &SeenHead,
) -> CommandResult<Result<Checkpoint, String>> {
    let Some(mut later) = auditor.later() else {
        return Ok(Err("the log has no seal".to_owned()));
    };
    each_entry(other, auditor.size(), seen.size, |entry| {
        later
            .entry(entry, other)
            .map_err(|error| other.unreadable(error))
    })?;
    Ok(later.verify_head(&seen.note))
}

/// Verifies the head of another copy. If no key in the audited log verifies the head, the function reads the keys from
/// the seals of the other copy. Returns `None` if that copy is empty or cannot be read.
pub fn by_its_own_seals(
    auditor: &Auditor,
    other: &LogSource,
    seen: &SeenHead,
) -> Option<Checkpoint> {
    let mut later = auditor.other()?;
    let mut tree = Frontier::default();
    let read = each_entry(other, 0, seen.size, |entry| {
        tree.append(entry.hash());
        later
            .entry(entry, other)
            .map_err(|error| other.unreadable(error))
    });
    let head = read
        .ok()
        .and_then(|()| later.verify_head(&seen.note).ok())?;
    (head.root == tree.root()).then_some(head)
}

pub fn another_history(seen: &SeenHead) -> Finding {
    let message = format!(
        "{} has a head of {} entries with a valid signature, and the entries differ from this log: the boundary \
         showed two histories, or one of the two copies was changed; keep both heads",
        seen.from, seen.size
    );
    Finding::whole(FindingKind::Fork, message)
}

fn subtree(place: &LogSource, level: u8, index: u64, size: u64) -> CommandResult<merkle::Hash> {
    let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
    let first = index << within;
    let tile = LogSource::tile_of(
        TileKind::Hashes(tile_level),
        first / u64::from(TILE_WIDTH),
        size,
    )?;
    let missing = || {
        CommandFailure::check_said_no(format!(
            "{tile} is missing or cut: the other copy is incomplete"
        ))
    };
    let bytes = place.tile(&tile)?.ok_or_else(missing)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    let start = usize::try_from(first % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
    let part = hashes
        .get(start..start.saturating_add(1 << within))
        .filter(|_| rest.is_empty());
    part.map(merkle::root).ok_or_else(missing)
}
