//! The key with which `countersign mcp` uses standing grants, and the file of each use without an answer.
//!
//! The agent's client can kill the server at any time. The file of a use is written before the use is sent, and deleted
//! when the answer is complete. So a repeated call finds the nonce of the first call, and is the same run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{
    CommandFailure, CommandResult, Home, KeyArgs, SignaturePurpose, Signer, home::keys, open_signer,
};
use documents::{
    EnvelopeSignature, KeyId, PAYLOAD_TYPE, Parameter, canonical, hex, joined, sha256,
};
use reading::ParameterSchema;
use wire::{GranteeKey, PlannedUse, ProposeArgs, REPEATS_FOR};

/// The key of a grantee.
#[derive(Debug)]
pub struct McpGrantee {
    signer: Box<dyn Signer>,
    url: String,
    directory: PathBuf,
}

impl McpGrantee {
    /// Opens the key, and the directory for the uses at the boundary of this address.
    ///
    /// # Errors
    /// Returns an error if the key can't be used, or needs a person for each signature, or if the directory can't be used.
    pub fn open(file: &Path, url: &str) -> CommandResult<Self> {
        let signer = open_signer(file).map_err(CommandFailure::usage)?;
        let refused = |why: &str| {
            CommandFailure::usage(format!(
                "the MCP server does not start, because {file:?} {why}"
            ))
        };
        if signer.key().is_security_key() || signer.asks().is_some() {
            let advice = "use a key without a passphrase, or load the key into ssh-agent";
            return Err(refused(&format!(
                "needs a person for each signature: {advice}"
            )));
        }
        // These bytes are no statement. A key that can't sign must fail now and not in a call of the agent.
        let _ = signer
            .sign(b"countersign mcp")
            .map_err(|error| refused(&format!("can't sign: {error}")))?;
        let state = std::env::var_os("XDG_STATE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let state = state.or_else(|| {
            Home::of_process()
                .home
                .map(|home| home.join(".local/state"))
        });
        let directory = state
            .ok_or_else(|| CommandFailure::usage("the home directory is unknown: set HOME"))?;
        let directory = directory.join("countersign/uses");
        let usable = std::fs::create_dir_all(&directory).and_then(|()| {
            drop(tempfile::NamedTempFile::new_in(&directory)?);
            // Nobody repeats these calls any more, and a kill can leave temporary files.
            std::fs::read_dir(&directory)?
                .flatten()
                .for_each(|entry| drop(read_recent(&entry.path())));
            Ok(())
        });
        usable.map_err(|error| {
            CommandFailure::usage(format!(
                "the MCP server can't use the directory {directory:?}: {error}"
            ))
        })?;
        Ok(Self {
            signer,
            url: url.to_owned(),
            directory,
        })
    }

    /// Returns the file of a call. The waiting time is no part of the proposal.
    fn file(&self, args: &ProposeArgs) -> PathBuf {
        let call = json!([
            self.url,
            self.keyid(),
            ProposeArgs {
                wait_s: 0,
                ..args.clone()
            }
        ]);
        self.directory
            .join(hex(&sha256(&canonical::to_canonical(&call))))
    }
}

/// Returns the option that names only this key.
pub fn key_args(file: &Path) -> KeyArgs {
    KeyArgs {
        key: Some(file.to_owned()),
        more: Vec::new(),
    }
}

/// Reads a file, or deletes it if a repeated call would be a new run.
fn read_recent(path: &Path) -> Option<Vec<u8>> {
    let age = path
        .metadata()
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .unwrap_or_default();
    if age >= REPEATS_FOR {
        let _ = std::fs::remove_file(path);
        return None;
    }
    std::fs::read(path).ok()
}

impl GranteeKey for McpGrantee {
    fn keyid(&self) -> KeyId {
        self.signer.key().keyid()
    }

    fn check_params(
        &self,
        of_step: &Value,
        granted: &Parameter,
        given: &Map<String, Value>,
    ) -> Result<(), String> {
        let flaws = |_| "this version of the program can't read the schema".to_owned();
        let complete = ParameterSchema::parse(of_step)
            .map_err(flaws)?
            .complete(Value::Object(given.clone()));
        let granted = ParameterSchema::compile(granted).map_err(flaws)?;
        let checked = complete.and_then(|complete| granted.check(complete.value()));
        checked.map(drop).map_err(|errors| joined(&errors, "; "))
    }

    fn sign(&self, payload: &[u8]) -> Result<EnvelopeSignature, String> {
        keys::sign(
            self.signer.as_ref(),
            SignaturePurpose::Use,
            PAYLOAD_TYPE,
            payload,
        )
        .map_err(|failure| failure.message)
    }

    fn planned(&self, args: &ProposeArgs) -> Option<PlannedUse> {
        serde_json::from_slice(&read_recent(&self.file(args))?).ok()
    }

    fn plan(&self, args: &ProposeArgs, new: PlannedUse) -> Result<PlannedUse, String> {
        let path = self.file(args);
        let written = tempfile::NamedTempFile::new_in(&self.directory).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(&new)?)?;
            file.as_file().sync_all()?;
            file.persist_noclobber(&path).map(drop).map_err(Into::into)
        });
        match written {
            Ok(()) => Ok(new),
            // The same call is in progress.
            Err(error) => self
                .planned(args)
                .ok_or_else(|| format!("can't write {}: {error}", path.display())),
        }
    }

    fn forget(&self, args: &ProposeArgs) {
        let _ = std::fs::remove_file(self.file(args));
    }
}
