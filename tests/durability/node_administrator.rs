//! A hostile administrator of the database: statements that a superuser executes against the tables of a boundary while
//! its service is down, and some that follow while the service runs.
//!
//! Each statement begins with the same tables. `store check`, `audit` or the refusal of `serve` must name the change, unless
//! nothing depends on it (`UNNAMED` in `administrator_statements`). After no statement a step runs again, without enough
//! approvals, or although it was denied.
//!
//! A plain test run takes a sample. `scripts/administrator --seed N --count N` takes any number of statements.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::administrator_statements::{
    Attack, HIDDEN_DENIALS, Known, SEVERAL, of_all_tables, with_an_aim,
};
use crate::support::nodes::{node, standby, start};
use crate::support::people::{self, Key, alice, bob, envelope, mallory};
use crate::support::postgres::cluster::Cluster;
use crate::support::random::Random;
use crate::support::uploads::upload;
use crate::support::{POLICY, SMALL, World, bytes_of, id_of, runbook, said, wait_for};

/// Number of statements for one row or one table, and of statements with an aim, in a plain test run.
const COUNT: [usize; 2] = [16, 4];

/// An authorization with signatures, and the file to which its run appends a line.
struct Approval {
    file: PathBuf,
    envelope: Value,
    standing: Standing,
}

/// What an authorization may do after the history.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It ran once, and never runs again.
    Ran,
    /// It never runs: too few people approved it, or its window is over.
    Never,
    /// It has enough approvals, and a person denied it.
    Denied,
    /// It has enough approvals, and only its proposer cancelled it, which no document says.
    Cancelled,
}

/// A boundary with a history, and a copy of its tables and of the files of its node.
struct Scene {
    server: Cluster,
    world: World,
    markers: tempfile::TempDir,
    approvals: Vec<Approval>,
    /// A proposal with one of two required signatures.
    half: Value,
    tables: Vec<String>,
    /// The statements that make all tables equal to the copy.
    reset: String,
}

impl Scene {
    fn new(server: Cluster) -> Self {
        let markers = tempfile::Builder::new()
            .prefix("countersign-marks-")
            .tempdir()
            .unwrap();
        fs::set_permissions(markers.path(), Permissions::from_mode(0o777)).unwrap();
        let path = markers.path().display();
        let prepared = |name| {
            node(&server, name, |setup| {
                let front = format!("params:\n  file: {{type: string}}\n{SMALL}");
                let it = format!("it write={path} workdir=in-place");
                let two = format!("approvals: {{required: 2, from: [ops, security]}}\n{front}");
                let step = [(it.as_str(), "echo run >> \"$PARAM_FILE\"")];
                setup.runbook("mark.md", runbook(&front, &step));
                setup.runbook("both.md", runbook(&two, &step));
                setup.runbook("big.md", runbook(SMALL, &[("big", "seq 1 200000")]));
                let sandbox = format!("sandbox: {{write: [\"{path}\"], workdir: in-place}}");
                setup.policy = format!(
                    "{POLICY}overrides:\n  - {{runbook: mark, {sandbox}}}\n  - {{runbook: both, {sandbox}}}\n"
                );
            })
        };
        let (mut world, two) = (prepared("one"), prepared("two"));
        server.migrate(&world);
        start(&mut world);
        let (approvals, half) = (Vec::new(), Value::Null);
        let mut scene = Self {
            server,
            world,
            markers,
            approvals,
            half,
            tables: Vec::new(),
            reset: String::new(),
        };
        let tables = scene
            .server
            .psql("SELECT tablename FROM pg_tables WHERE schemaname = 'countersign' ORDER BY 1");
        scene.tables = tables.lines().map(str::to_owned).collect();
        scene.plays();
        let standing = standby(two);
        scene.world.kill9();
        drop(standing.join().unwrap());
        scene.keep();
        scene
    }

    fn file(&self) -> PathBuf {
        self.markers.path().join(self.approvals.len().to_string())
    }

    /// Adds an authorization with these signatures, whose run appends a line to its file.
    fn approve(&mut self, template: &Value, signers: &[&Key], standing: Standing) -> Value {
        let (file, mut predicate) = (self.file(), template.clone());
        people::renew(&mut predicate);
        predicate["params"] = json!({"file": file});
        let envelope = envelope(&people::authorization(&predicate), signers);
        self.approvals.push(Approval {
            file,
            envelope: envelope.clone(),
            standing,
        });
        envelope
    }

    /// Proposes a step, and adds an envelope with these signatures.
    fn proposed(
        &mut self,
        step: &str,
        seconds: u32,
        signers: &[&Key],
        standing: Standing,
    ) -> Value {
        let file = self.file();
        let mut wish = World::wish(step, json!({"file": file}));
        wish["expires_in_s"] = json!(seconds);
        let proposal = self
            .world
            .wire
            .post("/v1/proposals", &self.world.agent, &wish)
            .ok(201);
        let envelope = envelope(&bytes_of(&proposal), signers);
        self.approvals.push(Approval {
            file,
            envelope,
            standing,
        });
        proposal
    }

    fn deny_ahead(&self, authorization: &Value) {
        let payload = people::payload_of(authorization);
        let denial = envelope(
            &people::denial(&self.world.boundary(), &payload, "no"),
            &[&bob()],
        );
        let body = json!({"denial": denial, "payload": STANDARD.encode(payload)});
        self.world.wire.post("/v1/denials", "", &body).ok(200);
    }

    /// Plays a history with rows in every table and with more than 256 entries of the log, so that the first tile is
    /// complete.
    fn plays(&mut self) {
        let cancelled = self.proposed("mark:it", 3600, &[&alice()], Standing::Cancelled);
        let cancel = format!("/v1/proposals/{}/cancellation", id_of(&cancelled));
        self.world
            .wire
            .post(&cancel, &self.world.agent, &json!({}))
            .ok(200);
        let shown: Value = serde_json::from_slice(&bytes_of(&cancelled)).unwrap();
        let template = &shown["predicate"];
        let spent = self.approve(template, &[&alice()], Standing::Ran);
        self.world.submit(&spent).ok(200);
        let denied = self.approve(template, &[&alice()], Standing::Denied);
        self.deny_ahead(&denied);
        let denied = self.proposed("mark:it", 3600, &[&alice()], Standing::Denied);
        self.world.deny(&denied, &bob()).ok(200);
        let expired = self.proposed("mark:it", 1, &[&alice()], Standing::Never);
        let unknown = self.approve(template, &[&mallory()], Standing::Never);
        self.world.submit(&unknown).problem("unknown-signer");
        self.world.run("big:big", json!({}), &[&alice()]);
        self.world.run("plain:fail", json!({}), &[&bob()]);
        upload(&self.world, &self.world.agent, &vec![7; 3 << 19])
            .1
            .ok(200);
        self.world.token("old", &[], &["read"]);
        self.world
            .control(&json!({"do": "token-revoke", "name": "old"}))
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..64 {
                        let proposal = self
                            .world
                            .propose("say:echo", json!({"text": people::nonce()}));
                        self.world.deny(&proposal, &bob()).ok(200);
                    }
                });
            }
        });
        self.copy_tables("earlier");
        let spent = self.approve(template, &[&alice()], Standing::Ran);
        self.world.submit(&spent).ok(200);
        self.world.submit(&spent).problem("nonce-replayed");
        self.half = self.proposed("both:it", 3600, &[&alice()], Standing::Never);
        self.world.sign(&self.half, &[&alice()]).ok(200);
        self.proposed("mark:it", 3600, &[&mallory()], Standing::Never);
        let running = self.world.propose("plain:wait", json!({}));
        self.world.sign(&running, &[&alice()]).ok(200);
        self.world.until(id_of(&running), "running");
        wait_for("a proposal has expired", || {
            self.world.show(id_of(&expired))["status"] == "expired"
        });
        assert!(
            self.world.log_size() > 271,
            "the statements cut the log at this size"
        );
    }

    /// Copies all tables into another schema.
    fn copy_tables(&self, to: &str) {
        let copy =
            |table: &String| format!("CREATE TABLE {to}.{table} AS TABLE countersign.{table};");
        self.server.psql(&format!(
            "CREATE SCHEMA {to}; {}",
            self.tables.iter().map(copy).collect::<String>()
        ));
    }

    /// Copies the tables and the files of the node.
    fn keep(&mut self) {
        self.copy_tables("kept");
        let reset = |table: &String| {
            let missing = |from: &str, than: &str| {
                format!(
                    "{from}.{table} a WHERE md5(a::text) NOT IN (SELECT md5(b::text) FROM {than}.{table} b);\n"
                )
            };
            format!(
                "DELETE FROM {} INSERT INTO countersign.{table} OVERRIDING SYSTEM VALUE SELECT * FROM {}",
                missing("countersign", "kept"),
                missing("kept", "countersign")
            )
        };
        self.reset = format!(
            "BEGIN; {} COMMIT",
            self.tables.iter().map(reset).collect::<String>()
        );
        self.copy_files("b/boundary", "kept");
    }

    fn copy_files(&self, from: &str, to: &str) {
        let _ = fs::remove_dir_all(self.world.path(to));
        let mut copy = self.world.command("cp");
        assert!(
            copy.arg("-a")
                .args([self.world.path(from), self.world.path(to)])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Executes a statement. Returns false if PostgreSQL refuses it or if it changes no row.
    fn applies(&self, attack: &Attack) -> bool {
        self.server.psql(&self.reset);
        let sql = format!(
            "SET search_path = countersign; BEGIN; {}; COMMIT",
            attack.sql
        );
        self.server
            .try_psql("super", &sql)
            .is_ok_and(|rows| !rows.is_empty())
    }

    fn known(&self) -> Known<'_> {
        let half = id_of(&self.half)
            .trim_start_matches("prp_")
            .replace('-', "");
        let tables = self.tables.iter().map(String::as_str).collect();
        Known {
            tables,
            half: format!("'\\x{half}'"),
            bob: bob().keyid(),
        }
    }

    /// Returns what `store check` names, or its message if it is no help for an operator.
    fn checked(&self) -> Result<Option<String>, String> {
        let mut check = self.world.program(&["store", "check", "--config"]);
        let output = check.arg(self.world.path("b")).output().unwrap();
        let text = said(&output);
        match output.status.code() {
            Some(0) => Ok(None),
            Some(1) if text.contains("DEFECT") => Ok(Some(text)),
            Some(2..) if is_message(&text) => Ok(Some(text)),
            _ => Err(format!("store check: {text}")),
        }
    }

    /// Serves the changed tables, and asks for all that must not run. Returns what names the change.
    fn served(&mut self, attack: &Attack) -> Result<Option<String>, String> {
        for approval in &self.approvals {
            let _ = fs::remove_file(&approval.file);
            if approval.standing == Standing::Ran {
                fs::write(&approval.file, "run\n").unwrap();
                fs::set_permissions(&approval.file, Permissions::from_mode(0o666)).unwrap();
            }
        }
        let named = match self.world.try_start() {
            Err(refused) if is_message(&refused) => Some(refused),
            Err(refused) => return Err(format!("serve: {refused}")),
            Ok(()) => {
                let named = self.asked(attack);
                // A live change can end the service.
                self.world.signal(Signal::KILL);
                let _ = self.world.ended();
                named?
            }
        };
        self.copy_files("kept", "b/boundary");
        for (number, approval) in self.approvals.iter().enumerate() {
            let lines = fs::read_to_string(&approval.file).map_or(0, |text| text.lines().count());
            let most = match approval.standing {
                Standing::Ran | Standing::Cancelled => 1,
                Standing::Denied => usize::from(attack.what == HIDDEN_DENIALS),
                Standing::Never => 0,
            };
            if lines > most {
                return Err(format!(
                    "authorization {number} ran {lines} times; {named:?}"
                ));
            }
        }
        Ok(named)
    }

    /// Asks a running service for all that must not run. Returns what `audit` names.
    fn asked(&self, attack: &Attack) -> Result<Option<String>, String> {
        if !attack.live.is_empty() {
            self.server.psql(&format!(
                "SET search_path = countersign; BEGIN; {}; COMMIT",
                attack.live
            ));
        }
        // The service may refuse the connection or answer with any problem.
        let _ = self.world.try_sign(&self.half, &[&alice()]);
        for approval in &self.approvals {
            let _ = self.world.wire.try_post(
                "/v1/authorizations",
                &self.world.agent,
                &approval.envelope,
            );
        }
        let roster = self.world.started["roster"].as_str().unwrap();
        let mut audit =
            self.world
                .program(&["audit", &self.world.wire.url, "--url", &self.world.wire.url]);
        let audit = audit
            .args(["--roster", roster])
            .env("COUNTERSIGN_TOKEN", &self.world.reader)
            .output()
            .unwrap();
        let log = self.world.service_log();
        if log.contains("panicked") || said(&audit).contains("panicked") {
            return Err(format!("{log}\n{}", said(&audit)));
        }
        let named = (!audit.status.success()).then(|| said(&audit));
        if named.is_none() && !attack.live.is_empty() {
            self.checked()
        } else {
            Ok(named)
        }
    }
}

/// Returns whether an operator can use this text: a program that panics tells only its own line.
fn is_message(text: &str) -> bool {
    text.len() > 40 && !text.contains("panicked")
}

#[test]
fn no_statement_of_the_administrator_of_the_database_runs_a_step_and_each_is_named() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<usize>().expect(name))
    };
    let seed = number("COUNTERSIGN_ADMINISTRATOR_SEED").unwrap_or(1);
    let counts = number("COUNTERSIGN_ADMINISTRATOR_COUNT").map_or(COUNT, |count| [count, count]);
    let Some(server) = Cluster::start("a hostile administrator", "") else {
        return;
    };
    let mut scene = Scene::new(server);
    assert_eq!(scene.checked(), Ok(None), "the history is sound");
    let mut random = Random(seed as u64);
    let (mut done, mut failures) = (0, Vec::new());
    for (mut attacks, count) in [of_all_tables(&scene.server), with_an_aim(&scene.known())]
        .into_iter()
        .zip(counts)
    {
        random.shuffle(&mut attacks);
        let mut left = count;
        for attack in &attacks {
            if left == 0 {
                break;
            }
            let has_aim = attack.table == SEVERAL;
            if !scene.applies(attack) {
                // PostgreSQL refuses some statements, and some change no row.
                assert!(!has_aim, "{}: {}", attack.what, attack.sql);
                continue;
            }
            (left, done) = (left - 1, done + 1);
            let long = has_aim || random.below(6) == 0;
            let named = scene.checked().and_then(|checked| {
                let served = if long || checked.is_none() {
                    scene.served(attack)?
                } else {
                    None
                };
                Ok(checked.or(served).is_some())
            });
            let failure = match named {
                Ok(named) if named || attack.reason().is_some() => continue,
                Ok(_) => "nothing names this".to_owned(),
                Err(message) => message,
            };
            let failure = format!(
                "{} {}: {}; {}: {failure}",
                attack.table, attack.what, attack.sql, attack.live
            );
            println!("{failure}");
            failures.push(failure);
        }
    }
    println!("{done} statements");
    assert!(
        failures.is_empty(),
        "{} of {done}, seed {seed}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
