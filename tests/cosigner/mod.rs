//! Starts the Python witness `tests/tools/witness.py` for tests, and reads what the boundary reports about witnesses.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "shared by tests, which fail by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use documents::{SecretKey, WitnessKey};
use serde_json::{Value, json};

use crate::support::wire::{Reply, Wire};
use crate::support::{World, wait_for};

/// A witness process with a separate directory for its key, logs and state.
pub struct Witness {
    pub name: String,
    pub vkey: String,
    dir: tempfile::TempDir,
    child: Option<Child>,
    url: String,
}

impl Witness {
    pub fn new(seed: u8) -> Self {
        Self::with_fault(seed, "")
    }

    pub fn with_fault(seed: u8, fault: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let secret = SecretKey::from_seed([seed; 32]);
        let name = format!("w{seed}.example/witness");
        fs::write(
            dir.path().join("key.pem"),
            secret.to_pkcs8_v1_pem().as_bytes(),
        )
        .expect("written");
        let vkey = WitnessKey::new(&name, secret.public()).vkey();
        let mut witness = Self {
            name,
            vkey,
            dir,
            child: None,
            url: String::new(),
        };
        witness.start(fault, 0);
        witness
    }

    pub fn start(&mut self, fault: &str, port: u16) {
        let mut command = Command::new("python3");
        command.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/tools/witness.py"
        ));
        command.args([
            "--name",
            &self.name,
            "--fault",
            fault,
            "--port",
            &port.to_string(),
        ]);
        for (option, file) in [
            ("--key", "key.pem"),
            ("--logs", "logs"),
            ("--state", "state.json"),
        ] {
            command.arg(option).arg(self.dir.path().join(file));
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the witness");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut line)
            .expect("its address");
        self.url = line.trim().to_owned();
        assert!(self.url.starts_with("http://"), "{line}");
        self.child = Some(child);
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn port(&self) -> u16 {
        self.url
            .rsplit(':')
            .next()
            .expect("a port")
            .parse()
            .expect("a number")
    }

    /// Returns a roster with the witness.
    pub fn entry(&self) -> Value {
        self.entry_at(&self.url)
    }

    /// Returns a roster with the witness and the address of a proxy in front of it.
    pub fn entry_at(&self, url: &str) -> Value {
        json!({"witnesses": {&self.name: {"vkey": self.vkey, "url": url}}})
    }

    /// Returns the address of the witness.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes a log known to the witness, as its operator does once.
    pub fn know(&self, log: &str) {
        fs::write(self.dir.path().join("logs"), format!("{log}\n")).expect("written");
    }

    pub fn state(&self) -> Value {
        fs::read(self.dir.path().join("state.json"))
            .map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap())
    }

    pub fn size(&self) -> u64 {
        let state = self.state();
        let logs = state.as_object().into_iter().flatten();
        logs.map(|(_, log)| log["size"].as_u64().expect("a size"))
            .max()
            .unwrap_or(0)
    }

    /// Sends a checkpoint to the witness. Anyone may send one.
    pub fn add(&self, old: &str, proof: &[&str], checkpoint: &str) -> Reply {
        let proof: String = proof.iter().map(|hash| format!("{hash}\n")).collect();
        let body = format!("old {old}\n{proof}\n{checkpoint}");
        Wire::new(&self.url).call("POST", "/add-checkpoint", &[], Some(body.as_bytes()))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the notes of `/ready` about witnesses.
pub fn notes(world: &World) -> Vec<String> {
    let ready = world.wire.peek("/ready").json();
    let notes = ready["notes"].as_array().expect("notes").iter();
    notes
        .map(|note| note.as_str().expect("words").to_owned())
        .filter(|note| note.contains("witness"))
        .collect()
}

/// Returns the log's verifier key from the note of `/ready` for the operator.
pub fn vkey_of_log(world: &World) -> String {
    let mut key = None;
    wait_for("a witness that does not know the log is told", || {
        let notes = notes(world);
        key = notes
            .iter()
            .find_map(|note| note.split("verifier key ").nth(1).map(str::to_owned));
        key.is_some()
    });
    key.expect("a key")
}
