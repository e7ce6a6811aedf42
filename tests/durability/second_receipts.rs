//! An administrator of the database wants a second receipt for a finished run. Each variant changes the row of the run, so
//! that it has no receipt, and then other rows or log entries. The checkpoint that the node keeps covers the whole log.

use std::fs;

use crate::packed_tiles::fill_a_tile;
use crate::support::nodes::{node, nodes, start};
use crate::support::people::{
    self, Key, alice, bob, boundary_key, envelope, frank, key_revocation, mallory, oscar,
};
use crate::support::postgres::cluster::Cluster;
use crate::support::postgres::until;
use crate::support::{World, assert_says, exited, id_of};
use documents::{hex, leaf_hash};
use serde_json::{Value, json};

/// A boundary whose log is seals, then authorization, consumption and receipt of one run, and then of another.
struct Scene {
    world: World,
    server: Option<Cluster>,
    /// Number of seals: the entry of the first authorization.
    first: u64,
    /// Number of entries of the original log.
    size: u64,
    /// Statements that make all tables as they were.
    reset: String,
}

impl Scene {
    fn new(server: Option<Cluster>) -> Self {
        let mut world = match &server {
            Some(server) => {
                let mut one = node(server, "one", |_| {});
                server.migrate(&one);
                start(&mut one);
                one
            }
            None => World::new(),
        };
        for text in ["once", "later"] {
            world.run("say:echo", json!({"text": text}), &[&alice()]);
        }
        let log = world.log();
        let first = log.iter().position(|(kind, _)| kind == "authorization");
        let first = first.expect("an authorization") as u64;
        let size = log.len() as u64;
        assert_eq!(size, first + 6);
        // The service writes the newest checkpoint to its file when it stops.
        world.stop();
        let mut scene = Self {
            world,
            server,
            first,
            size,
            reset: String::new(),
        };
        scene.keep();
        scene
    }

    fn keep(&mut self) {
        let Some(server) = &self.server else {
            fs::copy(self.world.database(), self.world.path("kept.db")).expect("copied");
            return;
        };
        let tables =
            server.psql("SELECT tablename FROM pg_tables WHERE schemaname = 'countersign'");
        server.psql("CREATE SCHEMA kept");
        self.reset = "SET session_replication_role = replica;".to_owned();
        for table in tables.lines() {
            server.psql(&format!(
                "CREATE TABLE kept.{table} AS TABLE countersign.{table}"
            ));
            self.reset += &format!(
                "TRUNCATE countersign.{table} CASCADE; \
                 INSERT INTO countersign.{table} OVERRIDING SYSTEM VALUE SELECT * FROM kept.{table};"
            );
        }
    }

    /// Makes the store as it was, and executes statements.
    fn execute(&self, statements: &str) {
        if let Some(server) = &self.server {
            server.psql(&self.reset);
            server.psql(&format!(
                "SET session_replication_role = replica; SET search_path = countersign; {statements}"
            ));
            return;
        }
        let path = self.world.database();
        for suffix in ["-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            let _ = fs::remove_file(name);
        }
        fs::copy(self.world.path("kept.db"), &path).expect("copied");
        let database = rusqlite::Connection::open(path).expect("a store");
        database
            .execute_batch(statements)
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// Returns the number of receipts after the original log.
    fn new_receipts(&self) -> String {
        let sql = format!(
            "SELECT count(*) FROM leaf WHERE kind = 3 AND idx >= {}",
            self.size
        );
        if let Some(server) = &self.server {
            return server.psql(&sql.replace("leaf", "countersign.leaf"));
        }
        let database = rusqlite::Connection::open(self.world.database()).expect("a store");
        database
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .map_or_else(|error| error.to_string(), |count| count.to_string())
    }

    /// Rows which say that the proposal with the consumption `of` runs, and that its consumption is at `place`.
    fn runs(&self, of: &str, place: &str) -> String {
        let node = if self.server.is_some() {
            ", 'one', 0"
        } else {
            ""
        };
        format!(
            "INSERT INTO crossing SELECT {place}, id, NULL{node} FROM proposal WHERE spent = {of}; \
             UPDATE proposal SET status = 0, receipt = NULL, ended_at = NULL WHERE spent = {of};"
        )
    }

    /// Puts the real numbers into a statement: `#3` is the entry of the first receipt, `@2` the place of the first consumption.
    fn numbered(&self, sql: &str) -> String {
        let mut sql = sql.to_owned();
        for number in (0..10).rev() {
            let entry = if number == 0 {
                0
            } else {
                self.first - 1 + number
            };
            sql = sql
                .replace(&format!("#{number}"), &entry.to_string())
                .replace(&format!("@{number}"), &(entry << 6).to_string());
        }
        sql
    }

    /// Statements of the administrator, each with its name.
    fn variants(&self) -> Vec<(&'static str, String)> {
        let again = self.runs("@2", "@2");
        let replaced = |at: u64, from: u64| {
            let from = format!("FROM leaf WHERE idx = #{from}");
            format!(
                "UPDATE leaf SET data = (SELECT data {from}), hash = (SELECT hash {from}) WHERE idx = #{at};"
            )
        };
        let copied = |at: u64, from: u64| {
            format!(
                "INSERT INTO leaf (idx, kind, at, hash, data) \
                 SELECT #{at}, kind, at, hash, data FROM leaf WHERE idx = #{from};"
            )
        };
        let exchanged = copied(9, 3) + &replaced(3, 6) + &replaced(6, 9);
        let (other, both) = (self.runs("@5", "@5"), copied(7, 1) + &copied(8, 2));
        let of_other = copied(7, 4) + &copied(8, 5) + &copied(9, 6);
        let of_another = |field: &str| {
            format!(
                "UPDATE leaf SET {field} = (SELECT {field} FROM leaf WHERE idx = #6) WHERE idx = #3;"
            )
        };
        let with_the_row: Vec<(&'static str, String)> = [
            ("nothing else", ""),
            ("the receipt deleted", "DELETE FROM leaf WHERE idx = #3"),
            ("the receipt replaced by another", &replaced(3, 6)),
            ("the receipt replaced by the seal", &replaced(3, 0)),
            ("the receipt replaced by its consumption", &replaced(3, 2)),
            ("the receipt replaced by its authorization", &replaced(3, 1)),
            ("the bytes of another receipt", &of_another("data")),
            ("the hash of another receipt", &of_another("hash")),
            (
                "the kind of the receipt",
                "UPDATE leaf SET kind = 5 WHERE idx = #3",
            ),
            (
                "the time of the receipt",
                "UPDATE leaf SET at = 0 WHERE idx = #3",
            ),
            ("the consumption deleted", "DELETE FROM leaf WHERE idx = #2"),
            ("the consumption replaced by another", &replaced(2, 5)),
            (
                "the authorization deleted",
                "DELETE FROM leaf WHERE idx = #1",
            ),
            ("the authorization replaced by another", &replaced(1, 4)),
            ("the receipts exchanged", &exchanged),
            (
                "a shorter log: cut before the receipt",
                "DELETE FROM leaf WHERE idx >= #3",
            ),
            (
                "a shorter log: cut after the receipt",
                "DELETE FROM leaf WHERE idx >= #4",
            ),
            (
                "a shorter log: cut without checkpoints",
                "DELETE FROM leaf WHERE idx >= #3; DELETE FROM checkpoint",
            ),
            ("the log deleted", "DELETE FROM leaf"),
            ("the checkpoints deleted", "DELETE FROM checkpoint"),
            (
                "a shorter log: the later entries over the receipt",
                "DELETE FROM leaf WHERE idx = #3; UPDATE leaf SET idx = #3 WHERE idx = #4; \
                 UPDATE leaf SET idx = #4 WHERE idx = #5; UPDATE leaf SET idx = #5 WHERE idx = #6",
            ),
            ("the tiles deleted", "DELETE FROM tile"),
            ("the seals deleted", "DELETE FROM seal"),
            (
                "a seal at another place",
                "UPDATE seal SET idx = #4 WHERE idx = 0",
            ),
            ("the blobs deleted", "DELETE FROM blob"),
            ("the nonces deleted", "DELETE FROM nonce"),
            (
                "the authorization of another run",
                "UPDATE proposal SET signed = #4 WHERE spent = @2",
            ),
            (
                "no authorization",
                "UPDATE proposal SET signed = NULL WHERE spent = @2",
            ),
            (
                "another digest",
                "UPDATE proposal SET digest = nonce WHERE spent = @2",
            ),
            (
                "another start",
                "UPDATE proposal SET started_at = 0, created_ms = 0 WHERE spent = @2",
            ),
            ("the other run too", &other),
            (
                "the other proposal deleted",
                "DELETE FROM proposal WHERE spent = @5",
            ),
            (
                "another step",
                "UPDATE proposal SET step = 'plain:true', step_digest = digest WHERE spent = @2",
            ),
            (
                "no end",
                "UPDATE proposal SET detail = NULL, approved_at = NULL WHERE spent = @2",
            ),
            (
                "the proposal deleted",
                "DELETE FROM proposal WHERE spent = @2",
            ),
            ("the outputs deleted", "DELETE FROM output"),
            ("a copy of the receipt", &copied(7, 3)),
            ("a copy of the other run", &of_other),
            (
                "events and times",
                "DELETE FROM event; UPDATE state SET mark = 0",
            ),
        ]
        .map(|(name, more)| (name, format!("{again} {more}")))
        .into();
        let places = [
            ("another item", "@2 + 1"),
            ("the place of the authorization", "@1"),
            ("the place of the receipt", "@3"),
            ("the place of a seal", "@0"),
            ("the consumption of the other run", "@5"),
            ("a shorter log: a place after it", "@9"),
        ]
        .map(|(name, place)| (name, self.runs("@2", place)));
        // No kept checkpoint covers entries that the administrator adds at the end. A copied entry must still be no second run.
        let moved = |to: u64| {
            let rows = format!("SET spent = @{to} WHERE spent = @2");
            self.runs("@2", &format!("@{to}"))
                + &format!("UPDATE nonce {rows}; UPDATE proposal {rows};")
        };
        let copies = [
            ("a copy of the consumption", copied(7, 2) + &moved(7)),
            ("copies of both", both.clone() + &moved(8)),
            ("copies of the whole run", both + &copied(9, 3) + &moved(8)),
        ];
        let mut all = with_the_row;
        all.extend(places);
        all.extend(copies);
        all
    }

    fn no_variant_gets_a_second_receipt(&mut self) {
        let mut variants = self.variants();
        if self.server.is_some() {
            // With a shorter log, a node waits for another one.
            variants.retain(|(name, _)| !name.starts_with("a shorter log"));
        }
        assert!(variants.len() >= 40, "{}", variants.len());
        let mut wrong = Vec::new();
        for (name, sql) in &variants {
            self.execute(&self.numbered(sql));
            let before = self.new_receipts();
            if self.world.try_start().is_ok() {
                self.world.kill9();
            }
            let after = self.new_receipts();
            if before != after {
                wrong.push(format!("{name}: {before} and then {after}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // The boundary itself is sound: with its own rows, it starts and runs.
        self.execute("");
        self.world.start();
        let step = json!({"text": "again"});
        self.world.run("say:echo", step, &[&alice()]);
        self.world.assert_audited();
    }
}

#[test]
fn promise_3_no_row_of_the_store_makes_a_boundary_sign_a_second_receipt() {
    Scene::new(None).no_variant_gets_a_second_receipt();
}

#[test]
fn promise_3_no_row_of_the_database_makes_a_node_sign_a_second_receipt() {
    if let Some(server) = Cluster::start("rows that want a second receipt", "") {
        Scene::new(Some(server)).no_variant_gets_a_second_receipt();
    }
}

/// The start compares only entries of the last day, so the recovery itself compares all revocations. With a low-water
/// mark that is two days ahead, the start takes the whole log for older than a day, and reads only the last tile.
#[test]
fn promise_3_no_changed_row_of_an_old_revocation_decides_what_a_receipt_says() {
    let mut world = World::new();
    let boundary = world.boundary();
    let payload = key_revocation(&boundary, &frank());
    world
        .wire
        .post("/v1/revocations", "", &envelope(&payload, &[&oscar()]))
        .ok(200);
    fill_a_tile(&world);
    // The run and its seal are in the second tile, so only the revocation needs the first one.
    world.token("later", &["carol"], &["propose"]);
    let waiting = world.propose("plain:wait", json!({}));
    world.sign(&waiting, &[&alice(), &bob()]).ok(200);
    world.until(id_of(&waiting), "running");
    let log = world.log();
    let revocation = log.iter().position(|(kind, _)| kind == "revocation");
    let revocation = revocation.expect("a revocation");
    let seal = log.iter().rposition(|(kind, _)| kind == "seal");
    assert!(revocation < 256 && seal >= Some(256), "{seal:?}");
    world.kill9();
    let database = rusqlite::Connection::open(world.database()).expect("a store");
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("the whole store in its file");
    drop(database);
    let mut scene = Scene {
        world,
        server: None,
        first: 0,
        size: log.len() as u64,
        reset: String::new(),
    };
    scene.keep();
    // By this row, bob's key was revoked before the run, and alice alone approved it.
    let changed = envelope(&key_revocation(&boundary, &bob()), &[&mallory()]).to_string();
    let changed = changed.as_bytes();
    scene.execute(&format!(
        "UPDATE state SET mark = mark + 2 * 86400; \
         UPDATE leaf SET data = x'{}', hash = x'{}' WHERE idx = {revocation}",
        hex(changed),
        hex(&leaf_hash(changed))
    ));
    let started = scene.world.try_start();
    assert_eq!(scene.new_receipts(), "0", "a receipt without bob");
    let what = format!("log entry {revocation} is missing or does not match the tree of the log");
    assert_says(started.expect_err("a changed revocation"), &what);
    // With the store as it was, both approved the run.
    scene.execute("");
    let world = &mut scene.world;
    world.start();
    let closed = world.until(id_of(&waiting), "finished");
    assert_eq!(closed["outcome"]["status"], "unknown");
    let approvers = &world.receipt(&closed)["decision"]["approvers"];
    assert_eq!(*approvers, json!(["alice", "bob"]));
    world.assert_audited();
}

/// A node does not become active while the seal of an open run lacks its key. So the administrator hides the row of the
/// run until the node is active.
#[test]
fn promise_3_no_row_of_the_database_makes_a_node_sign_with_a_key_that_the_seal_of_the_run_lacks() {
    let Some((server, mut one, mut two)) = nodes("a row of a run before the key of a node") else {
        return;
    };
    let key_two = Key::of("boundary", 41);
    two.write(
        "b/boundary/key.pem",
        key_two.secret.to_pkcs8_v1_pem().as_str(),
    );
    start(&mut one);
    let waiting = one.propose("plain:wait", json!({}));
    one.sign(&waiting, &[&alice()]).ok(200);
    one.until(id_of(&waiting), "running");
    // Only a later seal has the key of node two.
    let roster = fs::read(one.path("b/boundary/roster.d/1.json")).expect("version 1");
    let roster: Value = serde_json::from_slice(&roster).expect("an envelope");
    let next = people::next_roster(&roster, |tables| {
        tables["boundaries"]["prod"]["keys"] =
            json!([boundary_key().ssh.line(), key_two.ssh.line()]);
    });
    let next = people::roster_version(&next, &[&alice(), &bob()]);
    one.write("b/boundary/roster.d/2.json", &next.to_string());
    let mut seal = one.boundary_command(&["seal", "--config"]);
    exited(seal.arg(one.path("b")).output().expect("seal"), 0);
    one.kill9();
    server.psql(
        "CREATE SCHEMA kept; CREATE TABLE kept.crossing AS TABLE countersign.crossing; \
         DELETE FROM countersign.crossing",
    );
    two.start();
    server.psql(
        "INSERT INTO countersign.crossing SELECT id, proposal, exclusive, node, 0 FROM kept.crossing",
    );
    until("node two has looked at the row", || {
        two.service_log().contains("runs of other nodes")
    });
    let receipts = "SELECT count(*) FROM countersign.leaf WHERE kind = 3";
    assert_eq!(server.psql(receipts), "0", "{}", two.service_log());
    assert_says(two.service_log(), "its seal lacks the key of this node");
    // The key of node one can sign the receipt.
    two.stop();
    one.start();
    let closed = one.until(id_of(&waiting), "finished");
    assert_eq!(closed["outcome"]["status"], "unknown");
    let signer = &one.receipt(&closed)["boundary"]["keyid"];
    assert_eq!(*signer, json!(boundary_key().keyid()));
    one.assert_audited();
}
