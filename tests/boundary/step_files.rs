//! Files of a step: the sealed bytes reach each run of the step, and nothing else does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::host::not_run;
use crate::support::people::{alice, sha256};
use crate::support::poor::poor_host;
use crate::support::{POLICY, SMALL, World, exited, id_of, runbook, said};
use serde_json::{Value, json};

const PAGE: &str = "# Sums\n\n```file python utils.py\ndef double(x):\n    return 2 * x\n```\n\n\
                    ```file json data/rates.json\n{\"eur\": 21}\n```\n\n\
                    ```runnable python {#sum}\nimport json, utils\n\
                    print(utils.double(json.load(open('data/rates.json'))['eur']))\n```\n\n\
                    ```runnable bash {#read}\ncat data/rates.json\n```\n";
const LIB: &str = "greet() { printf 'hello %s\\n' \"$1\"; }\n";
const TOOL: &str = "#!/bin/bash\nprintf 'the tool ran\\n'\n";

fn world_of(policy: &str, steps: &[(&str, &str)]) -> World {
    started(prepared(policy, steps))
}

fn prepared(policy: &str, steps: &[(&str, &str)]) -> World {
    let world = World::prepared(|setup| {
        setup.policy = policy.to_owned();
        setup.runbook("page.md", PAGE);
        setup.runbook("sub/steps.md", runbook(SMALL, steps));
        setup.runbook("sub/lib.sh", LIB);
        setup.runbook("sub/bin/tool", TOOL);
    });
    let tool = world.path("b/runbooks/sub/bin/tool");
    fs::set_permissions(tool, fs::Permissions::from_mode(0o755)).expect("executable");
    world
}

fn started(mut world: World) -> World {
    world.start();
    world.make_tokens();
    world
}

/// Runs a step that must succeed, and returns its standard output.
#[track_caller]
fn succeeds(world: &World, step: &str) -> String {
    let finished = world.run(step, json!({}), &[&alice()]);
    let receipt = world.receipt(&finished);
    let complaints = world.output(&finished, "stderr");
    assert_eq!(
        receipt["outcome"]["status"], "succeeded",
        "{complaints}{receipt:#}"
    );
    world.assert_verified(&finished);
    world.output(&finished, "stdout")
}

#[test]
fn file_blocks_of_a_runnable_page_are_beside_each_of_its_scripts() {
    let world = world_of(POLICY, &[("a", "true")]);
    assert_eq!(succeeds(&world, "page:sum"), "42\n");
    assert_eq!(succeeds(&world, "page:read"), "{\"eur\": 21}\n");
    world.assert_audited();
}

#[test]
fn a_step_gets_the_files_of_its_runbooks_directory_that_it_names() {
    let script = ". lib.sh\n. \"$(dirname \"$0\")/lib.sh\"\ngreet world\nbin/tool\nstat -c '%A %n' lib.sh bin/tool | sort\nls";
    let world = world_of(
        POLICY,
        &[
            ("named files=\"lib.sh, bin/tool\"", script),
            ("none", "ls -A"),
        ],
    );
    let output = succeeds(&world, "sub/steps:named");
    let expected = "hello world\nthe tool ran\n-r--r--r-- lib.sh\n-r-xr-xr-x bin/tool\nbin\ncountersign-script\nlib.sh\n";
    assert_eq!(
        output.replace(
            "-r-xr-xr-x bin/tool\n-r--r--r-- lib.sh",
            "-r--r--r-- lib.sh\n-r-xr-xr-x bin/tool"
        ),
        expected
    );
    assert_eq!(succeeds(&world, "sub/steps:none"), "");
    let step: Value = world
        .wire
        .get("/v1/steps/sub/steps:named", &world.reader)
        .ok(200);
    let files = json!([
        {"path": "bin/tool", "bytes": TOOL.len(), "digest": format!("sha256:{}", sha256(TOOL.as_bytes())), "executable": true},
        {"path": "lib.sh", "bytes": LIB.len(), "digest": format!("sha256:{}", sha256(LIB.as_bytes())), "executable": false},
    ]);
    assert_eq!(step["definition"]["files"], files);
    world.assert_audited();
}

#[test]
fn a_step_can_not_change_its_files() {
    let script = "for attempt in 'printf x >> lib.sh' 'chmod u+w lib.sh' 'rm -f lib.sh' 'mv lib.sh other' \
                  'cp /bin/true lib.sh' 'ln -sf /bin/true bin/tool' 'mv bin/tool old' 'rm -rf bin' 'printf x > countersign-script'\n\
                  do\n  if sh -c \"$attempt\" 2> /dev/null; then printf 'CHANGED by %s\\n' \"$attempt\"; fi\ndone\n\
                  cat lib.sh bin/tool\n";
    let world = world_of(POLICY, &[("a files=\"lib.sh,bin/tool\"", script)]);
    assert_eq!(succeeds(&world, "sub/steps:a"), format!("{LIB}{TOOL}"));
}

#[test]
fn a_file_that_changes_after_the_seal_does_not_reach_a_run() {
    let mut world = world_of(POLICY, &[("a files=lib.sh", ". ./lib.sh; greet you")]);
    world.write(
        "b/runbooks/sub/lib.sh",
        "greet() { printf 'CHANGED\\n'; }\n",
    );
    assert_eq!(succeeds(&world, "sub/steps:a"), "hello you\n");
    fs::remove_file(world.path("b/runbooks/sub/lib.sh")).expect("removed");
    assert_eq!(succeeds(&world, "sub/steps:a"), "hello you\n");
    // After a restart with the same files, the contents come from the store.
    world.write("b/runbooks/sub/lib.sh", LIB);
    let seal = world.seal();
    world.restart();
    fs::remove_file(world.path("b/runbooks/sub/lib.sh")).expect("removed");
    assert_eq!(
        (succeeds(&world, "sub/steps:a"), world.seal()),
        ("hello you\n".to_owned(), seal)
    );
    world.write(
        "b/runbooks/sub/lib.sh",
        "greet() { printf 'CHANGED\\n'; }\n",
    );
    let mut diff = world.program(&["registry", "diff", "--url", &world.wire.url, "--dir"]);
    let diff = diff.arg(world.path("b/runbooks"));
    let done = diff
        .env("COUNTERSIGN_TOKEN", &world.reader)
        .output()
        .expect("diff");
    assert!(
        said(&done).contains("changed sub/steps:a: files.lib.sh"),
        "{}",
        said(&done)
    );
    world.reseal(seal + 1);
    assert_eq!(succeeds(&world, "sub/steps:a"), "CHANGED\n");
    world.assert_audited();
    world.stop();
    let check = || {
        world
            .program(&["store", "check", "--config"])
            .arg(world.path("b/countersign.toml"))
            .output()
            .expect("check")
    };
    assert!(check().status.success(), "{}", said(&check()));
    let store = rusqlite::Connection::open(world.database()).expect("a store");
    let digest = sha256(LIB.as_bytes());
    assert_eq!(
        store
            .execute(&format!("DELETE FROM blob WHERE digest = x'{digest}'"), [])
            .expect("deleted"),
        1
    );
    drop(store);
    assert!(
        said(&check()).contains(&format!(
            "the blob of the file \"lib.sh\" of sub/steps:a of this entry, sha256:{digest}, is missing"
        )),
        "{}",
        said(&check())
    );
}

/// Executes listed programs only.
const LISTED: &str = "version: 1\nextends: none\ndefault:\n  mode: execute\n  approvals: {required: 1, from: [ops]}\n  \
                      sandbox: {programs: {mode: listed, allow: [cat, cp, mv, mkdir, chmod, ls]}}\n";

#[test]
fn a_list_of_programs_allows_the_executable_files_of_the_step_and_no_file_in_their_place() {
    let replaced = "bin/tool\nmv bin old && mkdir bin && cp old/tool bin/tool && chmod 755 bin/tool\nold/tool\nbin/tool\n\
                    printf 'the copy: %s\\n' $?\n";
    let written = "cp bin/tool mine && chmod 755 mine\n./mine\nprintf 'mine: %s\\n' $?\n./lib.sh\nprintf 'data: %s\\n' $?\n";
    let world = world_of(
        LISTED,
        &[
            ("replaced files=\"bin/tool\"", replaced),
            ("written files=\"bin/tool,lib.sh\"", written),
        ],
    );
    let finished = world.run("sub/steps:replaced", json!({}), &[&alice()]);
    let complaints = world.output(&finished, "stderr");
    let expected = "the tool ran\nthe tool ran\nthe copy: 126\n";
    assert_eq!(world.output(&finished, "stdout"), expected, "{complaints}");
    // The file of the step ran twice, the second time below another directory. Only its copy was refused.
    let programs = &world.receipt(&finished)["programs"];
    let tool = |count: u64| json!({"path": "/tmp/work/bin/tool", "count": count});
    assert!(
        programs["started"]["paths"]
            .as_array()
            .expect("paths")
            .contains(&tool(2)),
        "{programs:#}"
    );
    assert_eq!(programs["refused"], json!({"paths": [tool(1)], "more": 0}));
    world.assert_verified(&finished);
    assert_eq!(
        succeeds(&world, "sub/steps:written"),
        "mine: 126\ndata: 126\n"
    );
    world.assert_audited();
}

#[test]
fn a_dynamic_loader_can_not_start_a_file_that_is_no_executable_file_of_the_step() {
    let script = "loader=$(ls -d /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* 2> /dev/null | while read -r one; do printf '%s' \"$one\"; break; done)\n\
                  bin/elf +ran%%\ncp bin/elf mine && chmod 755 mine\nfor file in ./mine ./data; do\n\
                  \"$loader\" \"$file\" +LOADED%%\nprintf '%s: %s\\n' \"$file\" $?\ndone\n";
    let world = World::prepared(|setup| {
        setup.policy = LISTED.to_owned();
        setup.runbook(
            "steps.md",
            runbook(SMALL, &[("a files=\"bin/elf,data\"", script)]),
        );
        setup.runbook("bin/elf", "");
    });
    for (name, mode) in [("bin/elf", 0o755), ("data", 0o644)] {
        let path = world.path("b/runbooks").join(name);
        fs::copy("/usr/bin/date", &path).expect("copied");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    }
    let world = started(world);
    let finished = world.run("steps:a", json!({}), &[&alice()]);
    let complaints = world.output(&finished, "stderr");
    assert_eq!(
        world.output(&finished, "stdout"),
        "ran%\n./mine: 127\n./data: 127\n",
        "{complaints}"
    );
    assert!(complaints.contains("failed to map segment"), "{complaints}");
}

#[test]
fn policy_still_asks_about_a_sourced_file_and_about_an_executed_file() {
    let policy = POLICY.replace("mode: execute", "mode: prompted");
    let steps = [
        ("sourced files=lib.sh", ". ./lib.sh"),
        ("source files=lib.sh", "source lib.sh"),
        ("executed files=\"bin/tool\"", "bin/tool"),
        ("shell files=lib.sh", "bash lib.sh"),
    ];
    let world = world_of(&policy, &steps);
    let unknown = |what: &str| json!({"type": "run", "what": what, "why": "unknown"});
    for (step, asked) in [
        ("sourced", unknown("./lib.sh@1")),
        ("source", unknown("lib.sh@1")),
        ("shell", unknown("lib.sh@1")),
        (
            "executed",
            json!({"type": "run", "what": "bin/tool", "why": "unlisted"}),
        ),
    ] {
        let proposal = world.propose(&format!("sub/steps:{step}"), json!({}));
        let statement: Value =
            serde_json::from_slice(&crate::support::bytes_of(&proposal)).expect("a statement");
        let permissions = statement["predicate"]["permissions"]
            .as_array()
            .expect("permissions");
        assert!(permissions.contains(&asked), "{step}: {permissions:?}");
    }
}

#[test]
fn files_reach_a_run_without_namespaces_and_a_run_without_a_sandbox() {
    const NAME: &str = "files_reach_a_run_without_namespaces_and_a_run_without_a_sandbox";
    let script = ". ./lib.sh\ngreet you\nbin/tool\nstat -c '%A %n' lib.sh bin/tool\n\
                  if test \"$(id -u)\" != \"$(stat -c %u lib.sh)\" && printf x >> lib.sh; then printf 'CHANGED\\n'; fi 2> /dev/null";
    let output = "hello you\nthe tool ran\n-r--r--r-- lib.sh\n-r-xr-xr-x bin/tool\n";
    let off = "off sandbox=off reason=\"a test\" files=\"lib.sh,bin/tool\"";
    let policy =
        format!("{POLICY}overrides:\n  - {{runbook: sub/steps, sandbox: {{may_be_off: true}}}}\n");
    if rustix::process::geteuid().is_root() {
        let world = world_of(&policy, &[(off, script)]);
        assert_eq!(succeeds(&world, "sub/steps:off"), output);
    } else {
        not_run(
            NAME,
            "without a sandbox, only a service of root has another user id for a run",
        );
    }
    let mut world = prepared(POLICY, &[("poor files=\"lib.sh,bin/tool\"", script)]);
    world.write(
        "b/countersign.toml",
        "name = \"prod\"\n[sandbox]\nlevel = \"best-effort\"\n",
    );
    if poor_host(&mut world, NAME) {
        let world = started(world);
        assert_eq!(succeeds(&world, "sub/steps:poor"), output);
        world.assert_audited();
    }
}

#[test]
fn a_review_shows_the_files_and_another_step_s_caller_does_not_get_them() {
    let world = world_of(
        POLICY,
        &[
            ("a files=\"lib.sh,bin/tool\"", ". ./lib.sh; greet you"),
            ("b", "true"),
        ],
    );
    let proposal = world.propose("sub/steps:a", json!({}));
    let review = said(
        &world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("review"),
    );
    let digest = sha256(LIB.as_bytes());
    for words in [
        format!("file \"lib.sh\", {} bytes, sha256:{digest}", LIB.len()),
        "1 | greet() {".to_owned(),
        "file \"bin/tool\", executable".to_owned(),
        "2 | printf 'the tool ran\\n'".to_owned(),
        "bin/tool (executable), lib.sh".to_owned(),
    ] {
        let flat = review.replace("\n        + ", "");
        assert!(flat.contains(&words), "{words}: {review}");
    }
    assert!(!review.contains("NOT TO BE SIGNED"), "{review}");
    let expect = proposal["digest"].as_str().expect("a digest");
    let approve = world
        .as_alice(&["approve", "--yes", "--expect", expect, id_of(&proposal)])
        .output()
        .expect("approve");
    assert!(approve.status.success(), "{}", said(&approve));
    world.until(id_of(&proposal), "finished");
    // A statement in a file is reviewed with the same contents.
    let file = world.path("offline.json");
    let words = [
        "propose",
        "sub/steps:a",
        "--offline",
        "--url",
        &world.wire.url,
        "--proposer",
        "agent",
        "-o",
    ];
    exited(
        world
            .program(&words)
            .arg(&file)
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .expect("propose"),
        0,
    );
    let review = said(
        &world
            .as_alice(&["review"])
            .arg(&file)
            .output()
            .expect("review"),
    );
    assert!(
        review.contains("1 | greet() {") && !review.contains("NOT TO BE SIGNED"),
        "{review}"
    );
    let mut show = world.program(&["registry", "show", "sub/steps:a", "--url", &world.wire.url]);
    let show = said(
        &show
            .env("COUNTERSIGN_TOKEN", &world.agent)
            .output()
            .expect("show"),
    );
    assert!(
        show.contains("lib.sh") && show.replace("\n        + ", "").contains(&digest),
        "{show}"
    );
    let path = format!("/log/blob/sha256/{digest}");
    let owner = world.token_for("a-only", &["carol"], &["propose"], &["sub/steps:a"]);
    assert_eq!(world.wire.get(&path, &owner).text(), LIB);
    assert_eq!(world.wire.get(&path, &world.reader).text(), LIB);
    let other = world.token_for("b-only", &["carol"], &["propose"], &["sub/steps:b"]);
    world.wire.get(&path, &other).problem("forbidden");
    world.wire.peek(&path).problem("unauthenticated");
}

#[test]
fn a_step_with_the_maximum_of_files_runs_and_is_reviewed() {
    let long = "n".repeat(250);
    let name = |number: usize| format!("dir/{long}/{long}/{number:03}{long}");
    let names: Vec<String> = (0..256).map(name).collect();
    let world = prepared(POLICY, &[]);
    let directory = world.path("b/runbooks/sub");
    fs::create_dir_all(directory.join(&names[0]).parent().expect("a parent")).expect("directories");
    for (number, name) in names.iter().enumerate() {
        let bytes = vec![b'a' + (number % 26) as u8; (4 << 20) / 256];
        fs::write(directory.join(name), bytes).expect("a file");
    }
    let script = "set -- dir/*/*/*\nprintf '%s\\n' $#\ncat \"$@\" | wc -c";
    let step = format!("most files=\"{}\"", names.join(","));
    world.write(
        "b/runbooks/sub/steps.md",
        &runbook(SMALL, &[(&step, script)]),
    );
    let world = started(world);
    assert_eq!(succeeds(&world, "sub/steps:most"), "256\n4194304\n");
    let proposal = world.propose("sub/steps:most", json!({}));
    let review = said(
        &world
            .as_alice(&["review", id_of(&proposal)])
            .output()
            .expect("review"),
    );
    assert!(
        review.contains("256 files, 4 MiB") && !review.contains("NOT TO BE SIGNED"),
        "{}",
        &review[review.len() - 4000..]
    );
    world.assert_audited();
}

/// Returns a world whose runbook `tree.md` may use a tree of the host, and the path of the tree.
fn world_with_tree(
    workdir: &str,
    steps: impl Fn(&str) -> Vec<(String, &'static str)>,
) -> (World, String) {
    let world = World::prepared(|setup| setup.runbook("lib.sh", LIB));
    fs::create_dir(world.path("tree")).expect("a directory");
    let tree = world
        .path("tree")
        .canonicalize()
        .expect("real")
        .display()
        .to_string();
    let steps = steps(&tree);
    let steps: Vec<(&str, &str)> = steps
        .iter()
        .map(|(step, script)| (step.as_str(), *script))
        .collect();
    world.write("b/runbooks/tree.md", &runbook(SMALL, &steps));
    let rule = format!(
        "overrides:\n  - {{runbook: tree, sandbox: {{write: [\"{tree}\"], workdir: {workdir}}}}}\n"
    );
    world.write("b/boundary/policy.yaml", &format!("{POLICY}{rule}"));
    (world, tree)
}

#[test]
fn a_step_with_files_in_a_directory_of_the_host_is_not_sealed() {
    let (mut world, _) = world_with_tree("in-place", |tree| {
        vec![(
            format!("a write={tree} workdir=in-place files=lib.sh"),
            ". ./lib.sh",
        )]
    });
    let text = world
        .try_start()
        .expect_err("files would remain on the host");
    assert!(
        text.contains("tree.md:7:11: tree:a: the step has files, and a run would write them"),
        "{text}"
    );
}

#[test]
fn the_files_of_a_step_replace_files_in_a_private_tree_and_never_files_of_the_host() {
    for workdir in ["copy", "overlay"] {
        let (world, tree) = world_with_tree(workdir, |tree| {
            let of = |id: &str| format!("{id} write={tree} workdir={workdir} files=lib.sh");
            vec![
                (of("file"), "pwd\n. ./lib.sh\ngreet you\nls\nrm -f lib.sh"),
                (of("again"), ". ./lib.sh\ngreet you"),
            ]
        });
        let at = |name: &str| std::path::Path::new(&tree).join(name);
        fs::write(at("lib.sh"), "greet() { printf 'HOST\\n'; }\n").expect("a file");
        let world = started(world);
        let finished = world.run("tree:file", json!({}), &[&alice()]);
        let expected = format!("{tree}\nhello you\ncountersign-script\nlib.sh\n");
        assert_eq!(
            world.output(&finished, "stdout"),
            expected,
            "{workdir}: {}",
            world.output(&finished, "stderr")
        );
        assert!(
            world.output(&finished, "stderr").contains("lib.sh"),
            "the step can't remove the file"
        );
        // A link is replaced, and nothing behind it changes.
        fs::rename(at("lib.sh"), at("host.sh")).expect("renamed");
        std::os::unix::fs::symlink("host.sh", at("lib.sh")).expect("a link");
        assert_eq!(succeeds(&world, "tree:again"), "hello you\n", "{workdir}");
        assert!(
            fs::read_to_string(at("host.sh"))
                .expect("a file")
                .contains("HOST"),
            "{workdir}"
        );
        assert!(
            fs::symlink_metadata(at("lib.sh"))
                .expect("a link")
                .is_symlink(),
            "{workdir}"
        );
        assert!(!at("countersign-script").exists(), "{workdir}");
        // A directory at the path of a file stays, and the run does not start.
        fs::remove_file(at("lib.sh")).expect("removed");
        fs::create_dir(at("lib.sh")).expect("a directory");
        let finished = world.run("tree:again", json!({}), &[&alice()]);
        assert_eq!(
            world.receipt(&finished)["outcome"]["status"],
            "not_started",
            "{workdir}"
        );
        world.assert_verified(&finished);
        world.assert_audited();
    }
}

#[test]
fn an_error_of_an_attribute_files_has_its_place() {
    for (files, words) in [
        ("none.sh", "can't be read"),
        ("../lib.sh", "is not a path inside"),
        ("/etc/passwd", "is not a path inside"),
        ("lib.sh,lib.sh", "listed twice"),
        ("large", "is larger than 1048576 bytes"),
        ("link", "leads out of the runbook's directory"),
    ] {
        let mut world = World::prepared(|setup| {
            setup.runbook("sub/lib.sh", LIB);
            setup.runbook("lib.sh", LIB);
            setup.runbook(
                "sub/steps.md",
                runbook(SMALL, &[(&format!("a files=\"{files}\""), "true")]),
            );
        });
        fs::write(
            world.path("b/runbooks/sub/large"),
            vec![b'x'; (1 << 20) + 1],
        )
        .expect("a file");
        std::os::unix::fs::symlink("../lib.sh", world.path("b/runbooks/sub/link")).expect("a link");
        let text = world.try_start().expect_err("no seal");
        assert!(
            text.contains("sub/steps.md:7:19: ") && text.contains(words),
            "{files}: {text}"
        );
    }
}

#[test]
fn a_cancelled_run_with_files_leaves_nothing_behind() {
    let world = world_of(
        POLICY,
        &[("a files=lib.sh timeout=1s", "sleep 600 & sleep 600")],
    );
    let finished = world.run("sub/steps:a", json!({}), &[&alice()]);
    assert_eq!(
        world.receipt(&finished)["outcome"]["status"],
        "timed_out",
        "{finished:#}"
    );
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains("countersign-script"), "{mounts}");
    let home = world.path("");
    let mut directories = vec![home];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(
                name != "countersign-script" && !name.starts_with("run-"),
                "{}",
                entry.path().display()
            );
            if entry.path().is_dir() && !entry.path().is_symlink() {
                directories.push(entry.path());
            }
        }
    }
}

#[test]
fn a_copy_of_the_log_has_the_files_and_an_audit_misses_a_file_that_it_lacks() {
    let world = world_of(POLICY, &[("a files=lib.sh", ". ./lib.sh; greet you")]);
    assert_eq!(succeeds(&world, "sub/steps:a"), "hello you\n");
    let copy = world.export("copy");
    let blob = copy.join("blob/sha256").join(sha256(LIB.as_bytes()));
    assert_eq!(fs::read_to_string(&blob).expect("a blob"), LIB);
    let roster = world.started["roster"].as_str().expect("a digest");
    let audit = || {
        world
            .program(&["audit", "--roster", roster])
            .arg(&copy)
            .output()
            .expect("audit")
    };
    assert!(audit().status.success(), "{}", said(&audit()));
    // The verifier in Python finds the same.
    let second = || {
        let python = std::env::var_os("COUNTERSIGN_PYTHON").unwrap_or_else(|| "python3".into());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent");
        let mut command = std::process::Command::new(python);
        command
            .args([folder, "audit"])
            .arg(&copy)
            .args(["--roster", roster])
            .output()
            .expect("python3")
    };
    assert!(second().status.success(), "{}", said(&second()));
    for spoiled in [None, Some("other")] {
        match spoiled {
            None => fs::remove_file(&blob).expect("removed"),
            Some(text) => fs::write(&blob, text).expect("written"),
        }
        assert_eq!(audit().status.code(), Some(1));
        assert!(
            said(&audit()).contains("file \"lib.sh\" of sub/steps:a"),
            "{}",
            said(&audit())
        );
        assert_eq!(second().status.code(), Some(1), "{}", said(&second()));
    }
}
