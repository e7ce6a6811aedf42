//! Runs the scripts of the policy vectors in the sandbox with a closed list of programs.
//!
//! The scripts try to execute a program that their policy does not allow. For the parser these are hard scripts. With a list,
//! the kernel must refuse the program, whatever the parser finds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use reading::{
    Builtins, DecisionPlace, Flags, Policy, PolicyVerdict, ReadLimit, RunbookPath, Shell,
    decide_script, resolve_path,
};
use sandbox::program_path;
use serde_json::Value;

use crate::planted::{PlantedHost, User};
use crate::support::host::not_run;

/// Programs that start other programs for their work, with these programs. A missing program makes an attack fail before the
/// kernel refuses anything.
const STARTED: [(&str, &str); 5] = [
    (
        "git",
        "basename,cat,cp,cut,dirname,env,expr,gettext,git,ls,mkdir,printf,pwd,rm,sed,sh,sort,ssh,tr,true,uname,wc",
    ),
    ("make", "cc,sh,touch"),
    ("npm", "bash,env,node,sh"),
    ("less", "sh,bash"),
    ("scp", "ssh"),
];
/// Maximum number of entries of a list.
const MOST: usize = 120;

/// A script, and the programs that it ran in each shell and that its policy does not allow.
struct Attack {
    id: String,
    script: String,
    policy: Value,
    runbook: String,
    ran: [(&'static str, BTreeSet<String>); 2],
}

impl Attack {
    /// Returns `None` if the vector executes only programs that its policy allows.
    fn of(vector: &Value) -> Option<Self> {
        if vector["kind"] != "run" || vector["expected"] == "allow" {
            return None;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut attack = Self {
            id: text(&vector["id"]),
            script: text(&vector["input"]),
            policy: vector["policy"].clone(),
            runbook: text(&vector["runbook"]),
            ran: [("bash", BTreeSet::new()), ("dash", BTreeSet::new())],
        };
        let truth = |shell: &str| -> BTreeSet<String> {
            let names = vector["ground_truth"][format!("{shell}_ran")]
                .as_array()
                .into_iter()
                .flatten();
            // A name with REAL in front was started by its own path, not from the search path.
            let names = names
                .filter_map(Value::as_str)
                .map(|name| name.trim_start_matches("REAL"));
            names
                .filter(|name| !attack.allows(name))
                .map(str::to_owned)
                .collect()
        };
        let ran = attack
            .ran
            .each_ref()
            .map(|(shell, _)| (*shell, truth(shell)));
        attack.ran = ran;
        attack
            .ran
            .iter()
            .any(|(_, ran)| !ran.is_empty())
            .then_some(attack)
    }

    fn allows(&self, name: &str) -> bool {
        let policy = match &self.policy {
            Value::Null => Policy::untouched(),
            written => Policy::load(&written.to_string()).expect("a policy"),
        };
        let ruling = resolve_path(
            &policy,
            Builtins::current(),
            &RunbookPath::of_file(&self.runbook),
        );
        let decision = decide_script(
            Shell::Bash,
            &ruling,
            name,
            ReadLimit::File,
            DecisionPlace::Terminal,
            &Flags::default(),
        );
        decision.verdict == PolicyVerdict::Allow
    }

    /// All programs that the policy does not allow and that the script runs in one of the shells.
    fn unlisted(&self) -> BTreeSet<&str> {
        self.ran
            .iter()
            .flat_map(|(_, ran)| ran)
            .map(String::as_str)
            .collect()
    }

    /// The list for this script: the shells, and each word of the script that is a program of this host and that the policy
    /// allows.
    fn list(&self) -> Vec<String> {
        let mut names = BTreeSet::from(["sh", "bash", "dash"]);
        let words = self
            .script
            .split(|c: char| !(c.is_ascii_alphanumeric() || "._-+".contains(c)));
        names.extend(
            words.filter(|word| !word.is_empty() && !word.starts_with('.') && self.allows(word)),
        );
        let carriers: Vec<&str> = STARTED
            .iter()
            .filter(|(name, _)| names.contains(name))
            .map(|(_, all)| *all)
            .collect();
        names.extend(
            carriers
                .iter()
                .flat_map(|started| started.split(','))
                .filter(|name| self.allows(name)),
        );
        let unlisted = self.unlisted();
        let names = names.into_iter().filter(|name| !unlisted.contains(name));
        let mut list: Vec<String> = names.filter_map(program_path).collect();
        if list.iter().any(|path| path.ends_with("/git")) {
            list.extend(git_programs());
        }
        list.truncate(MOST);
        list
    }

    /// Runs the script in one shell, and returns the planted programs that were executed.
    fn run(
        &self,
        host: &PlantedHost,
        shell: &str,
        list: Option<&[String]>,
        user: User,
    ) -> BTreeSet<String> {
        // The stub programs also cover the host's own programs with these names.
        let unlisted: Vec<&str> = self.unlisted().into_iter().collect();
        let run = host.run(&unlisted);
        let covered: Vec<(PathBuf, String)> = unlisted
            .iter()
            .filter_map(|name| Some((run.path("sbin").join(name), program_path(name)?)))
            .map(|(stub, path)| {
                (
                    stub,
                    Path::new(&path)
                        .canonicalize()
                        .expect("real")
                        .display()
                        .to_string(),
                )
            })
            .collect();
        let covers: Vec<(&Path, &str)> = covered
            .iter()
            .map(|(stub, path)| (stub.as_path(), path.as_str()))
            .collect();
        let mut command = host.sandbox(&run, &covers, user);
        if let Some(list) = list {
            command.args(["--programs", &list.join(",")]);
        }
        command.args(["--timeout", "10", "--", "sh", "-c"]);
        command.args([
            ": > \"$3/.began\"; cd; printf %s \"$1\" > /tmp/script; exec \"$2\" /tmp/script",
        ]);
        command.args(["sh", &self.script, shell, &host.marks()]);
        let output = command.output().expect("unshare");
        let mut marks = run.marks();
        assert!(
            marks.remove(".began"),
            "{}: no run: {}",
            self.id,
            String::from_utf8_lossy(&output.stderr)
        );
        marks
    }
}

/// The programs in git's own directory that are not git itself under another name.
fn git_programs() -> Vec<String> {
    let output = std::process::Command::new("git")
        .arg("--exec-path")
        .output();
    let directory = output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let scripts = [
        "difftool",
        "web--browse",
        "mergetool",
        "sh-setup",
        "sh-i18n",
    ];
    let wanted = files.filter(|entry| {
        scripts
            .iter()
            .any(|part| entry.file_name().to_string_lossy().contains(part))
    });
    wanted
        .filter_map(|entry| program_path(&entry.path().display().to_string()))
        .collect()
}

/// All attacks in the vectors of this repository and in the directories of `COUNTERSIGN_CASES`.
fn attacks() -> Vec<Attack> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let listed = std::env::var_os("COUNTERSIGN_CASES").unwrap_or_default();
    let others = std::env::split_paths(&listed).filter(|dir| !dir.as_os_str().is_empty());
    let mut found = BTreeMap::new();
    for directory in std::iter::once(own).chain(others) {
        let Ok(text) = std::fs::read_to_string(directory.join("policy.json")) else {
            continue;
        };
        let vectors: Vec<Value> = serde_json::from_str(&text).expect("vectors");
        for attack in vectors.iter().filter_map(Attack::of) {
            found.insert(attack.id.clone(), attack);
        }
    }
    found.into_values().collect()
}

/// The number of scripts that executed an unlisted program.
#[derive(Default, Debug, PartialEq, Eq)]
struct Counts {
    /// Runs without a list.
    without: usize,
    /// Runs with a list to which the unlisted programs were added.
    added: usize,
    /// Runs with a list.
    listed: usize,
}

#[test]
fn no_script_of_the_policy_vectors_executes_a_program_that_its_list_does_not_contain() {
    const NAME: &str =
        "no_script_of_the_policy_vectors_executes_a_program_that_its_list_does_not_contain";
    let Some(host) = PlantedHost::new() else {
        return not_run(NAME, "this user cannot create a mount namespace");
    };
    let attacks = attacks();
    let runs: Vec<(&Attack, &str)> = attacks
        .iter()
        .flat_map(|attack| {
            attack
                .ran
                .iter()
                .filter(|(_, ran)| !ran.is_empty())
                .map(move |(shell, _)| (attack, *shell))
        })
        .collect();
    // `./scripts/shell-truth --listed` runs all scripts.
    let every = if std::env::var_os("SHELL_TRUTH_SCRIPTS").is_some() {
        1
    } else {
        3
    };
    let runs: Vec<_> = runs.into_iter().step_by(every).collect();
    let (next, counts, escaped) = (
        AtomicUsize::new(0),
        Mutex::new(Counts::default()),
        Mutex::new(Vec::new()),
    );
    let silent = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(8)
        {
            scope.spawn(|| {
                while let Some((attack, shell)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let list = attack.list();
                    let names = attack.unlisted().into_iter();
                    let unlisted: Vec<String> = names
                        .flat_map(|name| program_path(name).into_iter().chain([name.to_owned()]))
                        .collect();
                    let without = attack.run(&host, shell, None, User::Same);
                    let added = attack.run(
                        &host,
                        shell,
                        Some(&[list.clone(), unlisted].concat()),
                        User::Same,
                    );
                    let mut with = attack.run(&host, shell, Some(&list), User::Same);
                    with.extend(attack.run(&host, shell, Some(&list), User::Ordinary));
                    // The list of the command contains the closures of its programs too.
                    let named = list
                        .iter()
                        .map(|path| path.parse().expect("a program"))
                        .collect();
                    let closures = Builtins::current().closures.started_by(&named, |_| true);
                    with.retain(|mark| !closures.keys().any(|name| name.as_str() == mark));
                    if !with.is_empty() {
                        let text = format!(
                            "{} in {shell}: {with:?} ran with the list {list:?}",
                            attack.id
                        );
                        escaped.lock().expect("no panic").push(text);
                    }
                    if !without.is_empty() && added.is_empty() {
                        silent
                            .lock()
                            .expect("no panic")
                            .push(format!("{} in {shell}", attack.id));
                    }
                    let mut counts = counts.lock().expect("no panic");
                    counts.without += usize::from(!without.is_empty());
                    counts.added += usize::from(!added.is_empty());
                    counts.listed += usize::from(!with.is_empty());
                }
            });
        }
    });
    let (counts, escaped) = (
        counts.into_inner().expect("no panic"),
        escaped.into_inner().expect("no panic"),
    );
    let silent = silent.into_inner().expect("no panic");
    println!(
        "{} scripts, {} runs: {counts:?}; not with the added list: {silent:?}",
        attacks.len(),
        runs.len()
    );
    assert!(escaped.is_empty(), "{}", escaped.join("\n"));
    // The same scripts execute the same programs if the kernel does not refuse them.
    assert!(runs.len() * every >= 100, "only {} runs", runs.len());
    assert!(
        counts.without * 10 >= runs.len() * 8,
        "of {} runs without a list, only {counts:?}",
        runs.len()
    );
    assert!(
        counts.added * 10 >= counts.without * 8,
        "the lists refuse too much: {counts:?}: {silent:?}"
    );
}
