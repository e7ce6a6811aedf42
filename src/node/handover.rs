//! Checks of the key of this node before the node signs for the boundary.
//!
//! A receipt counts only if a key in the roster of the run's seal signed the receipt and the checkpoint that covers it.
//! Therefore a key of a later roster must not be used while there is open work that only an earlier key can sign: a run
//! without a receipt, or a receipt that no checkpoint covers. A service that ended by SIGTERM leaves no such work. If
//! such work is open, a boundary with one machine refuses the start, and with several nodes the node stands by.

use std::{collections::HashMap, sync::Arc};

use crate::{Config, InStore as _};
use client::{FileSigner, Signer as _};
use documents::{
    Consumption, KeyId, LeafKind, Name, Predicate, Receipt, RevokedSubject, Seal, SealDigest,
};
use reading::FileProblem;
use store::{
    Database, KeyWait, Ledger, StoreReads, StoreResult, opened, read_revocations, refused,
};

#[must_use]
pub struct KeyHandoverChecked(());

/// Checks that no open work needs an earlier key of the boundary.
pub fn check(
    config: &Config,
    ledger: &Ledger,
    key: &FileSigner,
) -> Result<KeyHandoverChecked, FileProblem> {
    let keyid = key.key().keyid();
    let work = open_work(&mut SealKeys::new(ledger.reads()), keyid.as_str());
    match work.in_store(&config.database)? {
        None => Ok(KeyHandoverChecked(())),
        Some(what) => Err(FileProblem::whole(
            &config.key,
            format!(
                "the key {keyid} can't sign open work of the previous key: {what}; start the service once more with \
                 the previous key, end the service with SIGTERM, then change the key"
            ),
        )),
    }
}

/// Checks again and again whether a node may become active with its key.
pub struct StandbyKey {
    database: Database,
    keyid: KeyId,
    reads: Option<Arc<StoreReads>>,
    /// The seal in force and the number of revocations when the node last had no reason to wait. The check is repeated
    /// only after one of the two has changed.
    settled: Option<(SealDigest, usize)>,
}

impl StandbyKey {
    pub fn new(config: &Config, key: &FileSigner) -> Self {
        Self {
            database: config.database.clone(),
            keyid: key.key().keyid(),
            reads: None,
            settled: None,
        }
    }

    /// Returns the reason why this node can't be active with its key, or `None`.
    pub fn waits(&mut self) -> StoreResult<Option<KeyWait>> {
        let reads = match &self.reads {
            Some(reads) => reads.clone(),
            None => self.reads.insert(self.database.at_rest()?.0).clone(),
        };
        let revocations = reads.revocations()?.len();
        let last = reads.seals()?.last().map(|seal| (seal.digest, revocations));
        if last.is_none() || last == self.settled {
            return Ok(None);
        }
        let why = waits(&reads, self.keyid.as_str())?;
        self.settled = last.filter(|_| why.is_none());
        Ok(why)
    }
}

/// Refuses to call the node `name` lost if only the key of this node can sign for the boundary.
///
/// # Errors
/// Returns an error if no other node could become active, or if the database can't be read.
pub fn check_lost(config: &Config, name: &Name) -> Result<(), FileProblem> {
    let database = &config.database;
    let Some(reader) = database.nodes() else {
        return Ok(());
    };
    let mut nodes = reader.read().in_store(database)?.nodes;
    nodes.retain(|node| !node.lost);
    let Some(lost) = nodes
        .iter()
        .position(|node| node.name == *name)
        .map(|at| nodes.remove(at))
    else {
        return Ok(());
    };
    let (reads, _) = database.at_rest().in_store(database)?;
    if waits(&reads, &lost.keyid).in_store(database)?.is_some() {
        return Ok(());
    }
    let mut whys = Vec::new();
    for node in nodes {
        match waits(&reads, &node.keyid).in_store(database)? {
            None => return Ok(()),
            Some(wait) => whys.push(format!("{}: {}", node.name, wait.why)),
        }
    }
    let others = if whys.is_empty() {
        "there is no other node".to_owned()
    } else {
        whys.join("; ")
    };
    Err(FileProblem::of_store(
        &config.database,
        format!(
            "without the node {name} no node could become active ({others}). Start the node {name}, or a node with a copy of \
             its key. If the key is gone, restore a backup with `countersign store restore`, which begins a new log"
        ),
    ))
}

/// Returns the reason why a node with this key can't be active, or `None`.
fn waits(reads: &StoreReads, keyid: &str) -> StoreResult<Option<KeyWait>> {
    let mut seals = SealKeys::new(reads);
    let Some(last) = reads.seals()?.last().copied() else {
        return Ok(None);
    };
    let revoked = read_revocations(reads)?;
    let why = if revoked
        .iter()
        .any(|one| matches!(one.subject, RevokedSubject::Key(key) if key.as_str() == keyid))
    {
        format!("the key {keyid} of this node is revoked: give the node another key of the roster")
    } else if !seals.have(last.digest, keyid)? {
        format!(
            "the key {keyid} of this node is not in the roster in force: add it to the boundary with `countersign roster add boundary`, let the \
             approvers sign the roster, and run `countersign seal` at the active node"
        )
    } else {
        let work = open_work(&mut seals, keyid)?;
        return Ok(work.map(|what| KeyWait {
            why: format!("the key {keyid} of this node came later, and only a node with an earlier key can sign {what}"),
            is_in_force: true,
        }));
    };
    Ok(Some(KeyWait {
        why,
        is_in_force: false,
    }))
}

/// Returns the work that this key can't sign, or `None`.
fn open_work(seals: &mut SealKeys<'_>, keyid: &str) -> StoreResult<Option<String>> {
    let mut open = 0;
    for run in seals.reads.unfinished()? {
        let entry = seals.reads.leaf(run.index)?;
        let consumption = entry
            .map(|leaf| read::<Consumption>(&leaf.data))
            .transpose()?;
        let may_sign = match consumption {
            Some(consumption) => seals.have(consumption.seal, keyid)?,
            None => false,
        };
        open += usize::from(!may_sign);
    }
    if open > 0 {
        return Ok(Some(format!("the receipts of {open} open runs")));
    }
    // A service records a checkpoint over the whole log when it ends, so this loop usually reads nothing.
    let mut index = seals.reads.checkpoint()?.map_or(0, |row| row.size);
    while let Some(leaf) = seals.reads.leaf(index)? {
        if leaf.kind == LeafKind::Receipt
            && !seals.have(read::<Receipt>(&leaf.data)?.seal, keyid)?
        {
            return Ok(Some(format!(
                "a checkpoint over the receipt in log entry {index}"
            )));
        }
        index += 1;
    }
    Ok(None)
}

/// The boundary's keys in the roster of each seal.
struct SealKeys<'a> {
    reads: &'a StoreReads,
    known: HashMap<SealDigest, Vec<KeyId>>,
}

impl<'a> SealKeys<'a> {
    fn new(reads: &'a StoreReads) -> Self {
        Self {
            reads,
            known: HashMap::new(),
        }
    }

    fn have(&mut self, digest: SealDigest, keyid: &str) -> StoreResult<bool> {
        if !self.known.contains_key(&digest) {
            let seals = self.reads.seals()?;
            let entry = seals.iter().find(|entry| entry.digest == digest);
            let leaf = entry
                .map(|entry| self.reads.leaf(entry.index))
                .transpose()?
                .flatten();
            let leaf = leaf.ok_or_else(|| {
                refused(format!(
                    "the seal {digest} is not in the log: restore a backup"
                ))
            })?;
            self.known.insert(digest, read::<Seal>(&leaf.data)?.keys);
        }
        Ok(self.known[&digest].iter().any(|key| key.as_str() == keyid))
    }
}

fn read<P: Predicate>(data: &[u8]) -> StoreResult<P> {
    opened::<P>(data)
        .map(|(_, statement)| statement.predicate)
        .map_err(refused)
}
