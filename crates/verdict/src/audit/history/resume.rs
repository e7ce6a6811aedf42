//! Stores the state of an audit, and resumes a later audit from the stored state.

use std::{collections::HashMap, sync::Arc};

use crate::{
    Auditor, EvidenceFiles, Expected, LogEntry, Pinned, Runs, SavedAudit, SealInForce, Seals,
    Tiles, Unreadable,
    audit::{logged_authorization::LoggedAuthorization, saved_state::SavedSeal},
};
use documents::{RosterVersion, TILE_WIDTH, hex};

impl Auditor {
    /// Resumes an audit from its stored state. The audit computes the root from the stored tree and the new entries.
    /// This root differs from the signed root if the log no longer begins with the same entries.
    ///
    /// # Errors
    /// Returns the reason if the source can't be read or the stored state can't be used. The log must then be read from
    /// its first entry.
    pub fn resume(
        trusted: Pinned,
        versions: &[RosterVersion],
        expected: Expected,
        kept: &SavedAudit,
        beside: &dyn EvidenceFiles,
    ) -> Result<Self, String> {
        let mut auditor =
            Self::new(trusted, versions, expected).map_err(|error| error.to_string())?;
        let tree = kept
            .frontier()
            .ok_or("the saved tree does not fit the saved size")?;
        let mut sealed: Vec<Arc<SealInForce>> = Vec::with_capacity(kept.seals.len());
        for SavedSeal { index, entry } in &kept.seals {
            let entry = LogEntry::of(entry.clone().into_bytes());
            let parts = entry
                .parts()
                .map_err(|_| format!("the saved seal of entry {index} can't be read"))?;
            let signed = parts.signed().map_err(|error| error.to_string())?;
            let (seal, in_force) = Seals::again(
                *index,
                entry.data(),
                (&parts.payload, signed),
                (kept.boundary, auditor.expected.no_differences),
                &auditor.rosters,
                beside,
            )?;
            auditor
                .rosters
                .continue_after(&seal, in_force.roster.clone(), &kept.rosters);
            sealed.push(Arc::new(in_force));
        }
        let (width, mut lists) = (u64::from(TILE_WIDTH), HashMap::new());
        auditor.runs = Runs::resume(kept, &sealed, |named| {
            let entries = beside.entries(named.index / width, kept.size);
            let entries = entries.map_err(|Unreadable(why)| why)?;
            let data = entries.into_iter().nth((named.index % width) as usize);
            let mut logged = data
                .and_then(|data| LoggedAuthorization::of(named.index, &LogEntry::of(data)).ok())
                .filter(|logged| logged.at == named)
                .ok_or_else(|| format!("entry {} is not the saved authorization", named.index))?;
            let added = logged.add_programs(&mut lists, beside);
            added.map_err(|Unreadable(why)| why)??;
            Ok(logged)
        })?;
        auditor.seals = Seals {
            current: sealed.last().cloned(),
            last: sealed.last().and_then(|seal| seal.state.clone()),
            no_differences: auditor.expected.no_differences,
            past_epochs: kept.past_epochs.iter().cloned().collect(),
            gone_tokens: kept.gone_tokens.iter().cloned().collect(),
        };
        auditor.from = tree.size();
        auditor.tiles = Tiles::after(tree.size());
        auditor.tree = tree;
        auditor.at = kept.at;
        auditor.denials = kept.denials.iter().copied().collect();
        auditor.revocations = kept.revocations.iter().copied().collect();
        auditor.counts = kept.counts.clone();
        auditor.engines = kept.engines.iter().cloned().collect();
        auditor.follows.clone_from(&kept.follows);
        Ok(auditor)
    }

    /// Returns the state from which a later audit can resume.
    pub fn keep(&self, head: &str) -> Option<SavedAudit> {
        let in_force = self.seals.current.as_ref()?;
        let sealed = self.runs.seals(in_force);
        if self.failures > 0 || sealed.iter().any(|seal| seal.state.is_none()) {
            return None;
        }
        let seals = sealed
            .iter()
            .map(|seal| {
                Some(SavedSeal {
                    index: seal.index,
                    entry: String::from_utf8(seal.entry.to_vec()).ok()?,
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let mut denials: Vec<_> = self.denials.iter().copied().collect();
        denials.sort_by_key(|digest| *digest.as_bytes());
        Some(SavedAudit {
            version: SavedAudit::VERSION,
            program: SavedAudit::PROGRAM.to_owned(),
            boundary: in_force.boundary.id,
            seen: self.expected.now,
            checkpoint: head.to_owned(),
            size: self.tree.size(),
            tree: self.tree.parts().iter().map(|part| hex(part)).collect(),
            at: self.at,
            seals,
            rosters: self.rosters.parts().to_vec(),
            past_epochs: self.seals.past_epochs.iter().cloned().collect(),
            gone_tokens: self.seals.gone_tokens.iter().cloned().collect(),
            denials,
            revocations: self.revocations.iter().collect(),
            counts: self.counts.clone(),
            engines: self.engines.iter().cloned().collect(),
            follows: self.follows.clone(),
            runs: self.runs.keep(),
        })
    }
}
