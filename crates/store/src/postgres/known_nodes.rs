//! The nodes that this node has seen, in a file on its own disk.
//!
//! A database that went back to an earlier time can lack a node that has run steps since then. So each node adds the
//! nodes that it knows to the database, and waits for their checkpoints too.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Fields, KNOWN_NODES, Link, StoreFault, StoreResult, refused, small_file};

const DURING: &str = "entering the known nodes of the boundary";

const ENTER: &str = "INSERT INTO node (name, keyid, beat, started_at, version) \
    SELECT q.name, q.keyid, 'epoch', 'epoch', '' FROM unnest($1::text[], $2::text[]) AS q(name, keyid) \
    ON CONFLICT (name) DO NOTHING";
const SEEN: &str = "SELECT name, keyid FROM node";

#[derive(Clone)]
pub struct KnownNodes {
    path: PathBuf,
    /// Fingerprint of the key, by name.
    keys: BTreeMap<String, String>,
}

impl KnownNodes {
    /// Reads the file in the private directory `data`.
    pub fn read(data: &Path) -> StoreResult<Self> {
        let path = data.join(KNOWN_NODES);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| unusable(&path, &error))?,
        };
        let keys = text.lines().filter_map(|line| line.split_once(' '));
        let keys = keys
            .map(|(name, key)| (name.to_owned(), key.to_owned()))
            .collect();
        Ok(Self { path, keys })
    }

    /// Adds the known nodes that the database lacks.
    pub fn enter(&self, link: &Link) -> StoreResult {
        let (names, keys): (Vec<_>, Vec<_>) = self
            .keys
            .iter()
            .map(|(name, key)| (name.as_str(), key.as_str()))
            .unzip();
        link.query(DURING, ENTER, values![names, keys]).map(drop)
    }

    /// Stores the nodes of the database that the file lacks.
    pub fn note(&mut self, link: &Link) -> StoreResult {
        let mut keys = self.keys.clone();
        for row in &link.query(DURING, SEEN, values![])? {
            let row = Fields::new(DURING, row);
            keys.entry(row.get(0)?).or_insert(row.get(1)?);
        }
        if keys.len() > self.keys.len() {
            let text: String = keys
                .iter()
                .map(|(name, key)| format!("{name} {key}\n"))
                .collect();
            small_file::replace(&self.path, text.as_bytes())
                .map_err(|error| unusable(&self.path, &error))?;
            self.keys = keys;
        }
        Ok(())
    }
}

fn unusable(path: &Path, error: &io::Error) -> StoreFault {
    refused(format!("{}: {error}", path.display()))
}
