//! All keys that the versions of a roster had so far. A removed key never returns, so two numbers describe each key.

use std::collections::HashMap;

use crate::{ChainError, KeyHolder, TrustedRoster};
use documents::{BoundaryName, ForeignKey, KeyId};

/// The keys of the versions of a chain, by the 32 bytes of their material.
#[derive(Debug, Clone, Default)]
pub struct KeyHistory(HashMap<[u8; 32], KnownKey>);

#[derive(Debug, Clone)]
struct KnownKey {
    keyid: KeyId,
    /// The key, if its type is not Ed25519.
    foreign: Option<ForeignKey>,
    /// Each holder with the first version that gives the key to this holder.
    holders: Vec<(u64, KeyHolder)>,
    /// The last version that had the key, if a later version removed it.
    gone_after: Option<u64>,
}

impl KnownKey {
    fn since(&self) -> u64 {
        self.holders.first().map_or(0, |(since, _)| *since)
    }
}

impl KeyHistory {
    /// Adds the keys of the version after `before`, or of the first version.
    ///
    /// # Errors
    /// Returns an error, and adds nothing, if the version has a key that an earlier version removed.
    pub fn add(
        &mut self,
        before: Option<&TrustedRoster>,
        next: &TrustedRoster,
    ) -> Result<(), ChainError> {
        if before.is_some_and(|before| before.has_people_of(next)) {
            return Ok(());
        }
        let now: HashMap<_, _> = next.keys().map(|key| (key.material, key)).collect();
        for (material, key) in &now {
            if let Some(gone_after) = self.0.get(material).and_then(|known| known.gone_after) {
                return Err(returned(next.version(), gone_after, key.holder));
            }
        }
        let gone = before.into_iter().flat_map(TrustedRoster::keys);
        for key in gone.filter(|key| !now.contains_key(&key.material)) {
            if let Some(known) = self.0.get_mut(&key.material) {
                known.gone_after = Some(next.version() - 1);
            }
        }
        for (material, key) in now {
            let known = self.0.entry(material).or_insert_with(|| KnownKey {
                keyid: key.keyid,
                foreign: key.foreign.cloned(),
                holders: Vec::new(),
                gone_after: None,
            });
            if known
                .holders
                .last()
                .is_none_or(|(_, holder)| holder != key.holder)
            {
                known.holders.push((next.version(), key.holder.clone()));
            }
        }
        Ok(())
    }

    /// Checks that no key of this history, from versions up to `last`, is gone and returns in a later version of `later`.
    ///
    /// # Errors
    /// Returns an error for a key that returns.
    pub fn check_none_returns(&self, last: u64, later: &Self) -> Result<(), ChainError> {
        for (material, known) in &self.0 {
            let again = later.0.get(material);
            let Some((since, holder)) = again.and_then(|again| again.holders.first()) else {
                continue;
            };
            // A key of version `last` that the version after it lacks is gone too.
            if *since > known.gone_after.unwrap_or(last + 1) {
                return Err(returned(*since, known.gone_after.unwrap_or(last), holder));
            }
        }
        Ok(())
    }

    /// Forgets the versions after `last`.
    pub fn truncate(&mut self, last: u64) {
        self.0.retain(|_, known| known.since() <= last);
        for known in self.0.values_mut() {
            known.holders.retain(|(since, _)| *since <= last);
            known.gone_after = known.gone_after.filter(|gone_after| *gone_after < last);
        }
    }

    /// Returns the keys that any version gave to this boundary.
    pub fn of_boundary<'a>(&'a self, name: &'a BoundaryName) -> impl Iterator<Item = &'a [u8; 32]> {
        let is_its = move |(_, holder): &(u64, KeyHolder)| matches!(holder, KeyHolder::Boundary(one) if one == name);
        self.0
            .iter()
            .filter(move |(_, known)| known.holders.iter().any(is_its))
            .map(|(material, _)| material)
    }

    /// Returns the keys of other types than Ed25519, each with all its holders.
    pub fn foreign(&self) -> impl Iterator<Item = (&KeyHolder, &ForeignKey)> {
        self.0
            .values()
            .flat_map(|known| {
                let holders = known.holders.iter().map(|(_, holder)| holder);
                holders.zip(std::iter::repeat(known.foreign.as_ref()))
            })
            .filter_map(|(holder, key)| Some((holder, key?)))
    }

    /// Returns the version that removed this Ed25519 key.
    pub fn removed_by(&self, keyid: &KeyId) -> Option<u64> {
        let mut known = self.0.values().filter(|known| known.foreign.is_none());
        let gone_after = known.find(|known| known.keyid == *keyid)?.gone_after?;
        Some(gone_after + 1)
    }
}

fn returned(version: u64, gone_after: u64, holder: &KeyHolder) -> ChainError {
    ChainError::KeyReturned {
        version,
        gone_after,
        holder: holder.to_string(),
    }
}
