//! The scripts of `tests/escapes/escapes.rs` as steps of a runbook that are proposed, signed and run over HTTP.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::PoisonError;

use crate::escape::planted::{self, Planted};
use crate::escape::{self, Case, cases};
use crate::support::people::alice;
use crate::support::{POLICY, PROGRAM, World, id_of, not_run};
use serde_json::{Value, json};

/// The id of an unprivileged user without a name.
const ORDINARY: &str = "4242";
/// The limits on the suite's page.
const FRONT: &str = "countersign: 1\ntitle: Ways out\n\
                     defaults: {timeout: 10s, memory: 256MiB, processes: 64, output: 64KiB, file_size: 64MiB}";

#[test]
fn no_escape_from_a_real_service_over_http_succeeds() {
    nothing_gets_out(&[]);
}

#[test]
fn no_escape_over_http_succeeds_if_the_service_is_an_ordinary_user() {
    const NAME: &str = "no_escape_over_http_succeeds_if_the_service_is_an_ordinary_user";
    if !rustix::process::geteuid().is_root() {
        return not_run(
            NAME,
            "who is not root can't be another; the test beside it runs as an ordinary user here",
        );
    }
    let open = |path: &Path| {
        path.metadata()
            .is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
    };
    if !Path::new(PROGRAM).ancestors().all(open) {
        return not_run(
            NAME,
            "other users can't start the program where it was built",
        );
    }
    nothing_gets_out(&[
        "setpriv",
        "--reuid",
        ORDINARY,
        "--regid",
        ORDINARY,
        "--clear-groups",
    ]);
}

/// Plays every script in a service that this command line starts.
fn nothing_gets_out(by: &[&str]) {
    let _host = escape::HOST.read().unwrap_or_else(PoisonError::into_inner);
    let home = tempfile::Builder::new()
        .prefix("countersign-escape-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let token = format!("CANARY-{:032x}", u128::from_le_bytes(escape::random()));
    let canary = home.path().join("canary");
    std::fs::write(&canary, format!("{token}\n")).unwrap();
    std::fs::set_permissions(&canary, std::fs::Permissions::from_mode(0o644)).unwrap();
    let planted = Planted::new(home.path(), &token);
    planted.renew();
    let cases = cases();
    let mut world = World::prepared(|setup| {
        setup.limits = "runs = 4".to_owned();
        let work = planted.work().display().to_string();
        let tree = format!("write: [\"{work}\"], deny: [\"**/.env\"]");
        setup.policy =
            format!("{POLICY}overrides:\n  - {{runbook: escape, sandbox: {{{tree}}}}}\n");
        // The mistakes of a careless service: a secret in its environment, an agent, and a descriptor that its children
        // inherit.
        setup.env("CS_SECRET_ENV", "the service's own");
        setup.env("SSH_AUTH_SOCK", "/tmp/no-agent");
        setup.before = [
            "bash",
            "-c",
            "exec 99< \"$0\"; exec \"$@\"",
            canary.to_str().unwrap(),
        ]
        .iter()
        .chain(by)
        .map(|word| (*word).to_owned())
        .collect();
    });
    let runbook = runbook(&world, &planted, &cases);
    world.write("b/runbooks/escape.md", &runbook);
    if !by.is_empty() {
        let given = Command::new("chown")
            .args(["-R", &format!("{ORDINARY}:{ORDINARY}")])
            .arg(world.path("."))
            .status();
        assert!(given.unwrap().success());
    }
    world.start();
    world.make_tokens();
    let proposals: Vec<Value> = cases
        .iter()
        .map(|case| {
            let proposal = world.propose(&format!("escape:{}", case.id), json!({}));
            world.sign(&proposal, &[&alice()]).ok(200);
            proposal
        })
        .collect();
    let (mut wrong, mut all, mut held) = (Vec::new(), String::new(), 0);
    for (case, proposal) in cases.iter().zip(&proposals) {
        let finished = world.until(id_of(proposal), "finished");
        let said = world.output(&finished, "stdout") + &world.output(&finished, "stderr");
        let receipt = world.receipt(&finished);
        held += usize::from(said.contains("HELD"));
        if said.contains("ESCAPED") {
            wrong.push(format!("{}: {said}", case.id));
        }
        if let Some(why) = unlike_its_page(case, &receipt) {
            wrong.push(format!("{}: {why}: {receipt:#}", case.id));
        }
        let bundle = world.bundle(&finished);
        all.push_str(&said);
        all.push_str(&format!(
            "{finished}{receipt}{}",
            String::from_utf8_lossy(&bundle)
        ));
    }
    world.check_history();
    for entry in world.log() {
        all.push_str(&entry.1.to_string());
    }
    all.push_str(&world.service_log());
    // Checks the host, the output, the log of the boundary and the log of the service.
    wrong.extend(planted.breaches(&all.replace("ESCAPED", "")));
    if world.path("b/runbooks/pwned.md").exists() {
        wrong.push("a runbook was written".to_owned());
    }
    for case in &cases {
        let alive = planted.alive(&case.id);
        planted::end(&alive);
        if !alive.is_empty() {
            wrong.push(format!("{}: alive after its receipt: {alive:?}", case.id));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} things:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // At least four of five scripts print that they were held. The sandbox kills the other scripts, or they print other
    // text.
    assert!(
        held * 5 >= cases.len() * 4,
        "only {held} of {} say that they were held",
        cases.len()
    );
    assert!(cases.len() >= 25 + 40 && world.count("receipt") == cases.len());
    world.assert_audited();
}

/// Returns a runbook with one step for each script. Each step first sets the script's environment.
fn runbook(world: &World, planted: &Planted, cases: &[Case]) -> String {
    let mut text = format!("---\n{FRONT}\n---\n");
    for case in cases {
        let mut environment = planted.environment(&case.id, false);
        for (name, value) in &mut environment {
            // The real directories of the boundary.
            match name.as_str() {
                "CS_BOUNDARY" => *value = world.path("b/boundary").display().to_string(),
                "CS_RUNBOOKS" => *value = world.path("b/runbooks").display().to_string(),
                _ => {}
            }
        }
        let set = |(name, value): &(String, String)| match case.language.as_str() {
            "python" => format!("__import__('os').environ[{name:?}] = {value:?}\n"),
            _ => format!("export {name}='{value}'\n"),
        };
        let set: String = environment.iter().map(set).collect();
        let timeout = if case.id == "timeout-ignore-term" {
            " timeout=3s"
        } else {
            ""
        };
        let fence = format!(
            "{} {{#{} write={} workdir=copy{timeout}}}",
            case.language,
            case.id,
            planted.work().display()
        );
        text.push_str(&format!("\n````{fence}\n{set}{}\n````\n", case.script));
    }
    text
}

/// Returns the first additional requirement of the suite's page that the receipt does not meet.
fn unlike_its_page(case: &Case, receipt: &Value) -> Option<&'static str> {
    let status = receipt["outcome"]["status"].as_str().unwrap();
    let stdout = &receipt["output"]["stdout"];
    let kept = |stream: &str| receipt["output"][stream]["recorded"].as_u64().unwrap();
    if receipt["sandbox"]["level"] != "strict" {
        return Some("it was not held by all layers");
    }
    match case.id.as_str() {
        _ if ["not_started", "unknown"].contains(&status) => Some("it did not run"),
        "timeout-ignore-term" if status != "timed_out" => Some("it was not timed out"),
        "output-flood" if status != "succeeded" => Some("it did not end well"),
        "output-flood" if kept("stdout") + kept("stderr") > 65_536 => {
            Some("more is kept than its limit")
        }
        "output-flood"
            if stdout["truncated"] != true || stdout["bytes"].as_u64() < Some(50_000_000) =>
        {
            Some("it is not said what was cut")
        }
        _ => None,
    }
}
