//! Tests of registries that are read from runbook directories and from stored definitions.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use super::*;
use crate::{InvalidFiles, RunbookDirectories, YamlFlaw, registry::directory_walk::MAX_FILE_BYTES};
use documents::MAX_SOURCE_BYTES;

const NGINX: &str = "---\ncountersign: 1\ntitle: Nginx\nparams:\n  host: {type: string, pattern: \"^[a-z0-9-]{1,32}$\"}\n  drain: {type: boolean, default: true}\napprovals: {required: 1, from: [ops]}\n---\n# Restart nginx\n\nProse.\n\n```bash {#restart}\nprintf 'restarting nginx on %s\\n' \"$PARAM_HOST\"\n```\n";
const WEB: &str = "---\ncountersign: 1\ntitle: Status\napprovals: {from: [ops]}\n---\n```bash {#status}\nsystemctl status web\n```\n";

struct Dir(tempfile::TempDir);

impl Dir {
    fn of(files: &[(&str, &str)]) -> Self {
        let dir = Self(tempfile::tempdir().expect("a directory"));
        for (name, text) in files {
            dir.write(name, text.as_bytes());
        }
        dir
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, bytes).expect("a file");
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    fn load(&self) -> Result<Registry, Vec<FileProblem>> {
        load(&[self.path()], None)
    }

    fn errors(&self) -> Vec<String> {
        self.load().map_or_else(
            |errors| errors.iter().map(ToString::to_string).collect(),
            |_| Vec::new(),
        )
    }
}

fn load(paths: &[PathBuf], owner: Option<u32>) -> Result<Registry, Vec<FileProblem>> {
    RunbookDirectories::strict(paths.to_vec(), owner).load()
}

fn errors(text: &str) -> Vec<String> {
    Dir::of(&[("a.md", text)]).errors()
}

/// Returns a runbook with one block.
fn fenced(info: &str, script: &str) -> String {
    format!("---\ncountersign: 1\nparams: {{a: {{type: string}}}}\n---\n```{info}\n{script}```\n")
}

fn read_one(
    name: &str,
    path: &Path,
    owner: Option<u32>,
) -> Result<crate::registry::page::ReadPage, Vec<YamlFlaw>> {
    read_text(path).and_then(|text| read_page(name, path, &text, owner).without_flaws())
}

#[test]
fn the_golden_registry_is_built_from_its_runbooks() {
    let dir = Dir::of(&[
        ("nginx.md", NGINX),
        ("deploy/web.md", WEB),
        ("README.md", "# Read me\n"),
        ("x.sh", "rm -rf /"),
    ]);
    let registry = dir.load().expect("a registry");
    let nginx: StepRef = "nginx:restart".parse().expect("a ref");
    let step = registry.get(&nginx).expect("registered");
    assert_eq!(
        step.digest.to_string(),
        "sha256:d9844140b87990c47a741552a7548bc6271554a2a9f71f567b9695d57330d335"
    );
    assert_eq!(
        registry.root().to_string(),
        "sha256:2fe5507201fa7effa940ae021b49a561a38d2d1cbd1d955f3937323b2b41af49"
    );
    assert_eq!(
        documents::BlobDigest::of(registry.manifest()).to_string(),
        "sha256:bec4a3eeb9361bb0e7242abdb615d1b78f57ac3e3b6a0b89aafc235552a21d49"
    );
    let proof = registry.proof_at(1).expect("a proof");
    assert_eq!((proof.index, proof.size), (1, 2));
    assert_eq!(
        proof
            .hashes
            .iter()
            .map(|hash| documents::hex(hash))
            .collect::<Vec<_>>(),
        ["99b74b957a5a17a7c6a4b956da9d2f526921b3c6c7bc1612a6f8c972937ab761"]
    );
    let refs: Vec<&str> = registry
        .steps()
        .map(|step| step.definition.reference.as_str())
        .collect();
    assert_eq!(refs, ["deploy/web:status", "nginx:restart"]);
    assert_eq!(registry.proof_at(2), None);
}

#[test]
fn host_resources_that_a_step_declares_are_read_with_their_places() {
    let front = |defaults: &str, fence: &str| {
        errors(&format!(
            "---\ncountersign: 1\ndefaults: {{{defaults}}}\n---\n```bash {{#a {fence}}}\ntrue\n```\n"
        ))
    };
    for (defaults, fence) in [
        (
            "read: [/srv/a, /srv/b], network: {allow: [\"a.example:443\"]}",
            "",
        ),
        (
            "",
            "read=/srv/a,/srv/b deny=**/.env network=a.example:443,10.1.2.3:5432,[fd00::1]:80 sockets=/run/x run-as=web",
        ),
        ("", "write=/srv/a workdir=in-place"),
        ("write: [/srv/a], workdir: overlay", "network=host"),
        ("", "sandbox=off reason=\"needs the host's packages\""),
    ] {
        assert_eq!(front(defaults, fence), [""; 0], "{defaults} {fence}");
    }
    let stars = format!("deny=**/{}", "*".repeat(1000));
    for (defaults, fence, expected) in [
        ("", "read=srv", "a.md:5:18: the path \"srv\" is relative"),
        (
            "",
            "read=/srv/../etc",
            "a.md:5:18: the path \"/srv/../etc\" contains",
        ),
        ("", "read=/srv,/srv", "a.md:5:18: \"/srv\" is listed twice"),
        (
            "",
            "write=/srv",
            "a.md:5:19: `write` names a tree of the host, but `workdir` is missing",
        ),
        ("", "workdir=copy", "a.md:5:21: `workdir` needs a tree"),
        (
            "",
            "workdir=live",
            "a.md:5:21: unknown value of workdir: \"live\"",
        ),
        (
            "",
            "deny=**",
            "a.md:5:18: the deny pattern \"**\" matches everything",
        ),
        ("", &stars, "a.md:5:18: the deny pattern"),
        ("", "network=169.254.169.254:80", "a.md:5:21: the address"),
        ("", "network=127.77.0.1:80", "a.md:5:21: the address"),
        (
            "",
            "network=a.example",
            "a.md:5:21: the address \"a.example\" has no port",
        ),
        ("", "run-as=root", "a.md:5:20: no step runs as root"),
        ("", "sandbox=off", "a.md:5:21: sandbox=off needs a reason"),
        ("", "sandbox=strict", "a.md:5:21: unknown value of sandbox"),
        (
            "",
            "reason=x",
            "a.md:5:20: `reason` is only for sandbox=off",
        ),
        (
            "",
            "sandbox=off reason=x network=host",
            "a.md:5:21: with sandbox=off nothing enforces `network`",
        ),
        (
            "read: [\"/srv/a\\nb\"]",
            "",
            "a.md:3:19: the path \"/srv/a\\nb\" contains a line break",
        ),
        (
            "network: all",
            "",
            "a.md:3:21: unknown value of `network`: \"all\"",
        ),
        (
            "run-as: web",
            "",
            "a.md:3:12: unknown key in defaults: \"run-as\"",
        ),
    ] {
        let found = front(defaults, fence);
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{expected}\n{found:?}"
        );
        assert!(found.iter().all(|one| one.len() < 500), "{found:?}");
    }
}

#[test]
fn a_sealed_registry_does_not_change_if_files_change_later() {
    let dir = Dir::of(&[("nginx.md", NGINX), ("deploy/web.md", WEB)]);
    let registry = dir.load().expect("a registry");
    let mut stored: Vec<StepDefinition> = registry
        .steps()
        .map(|step| {
            serde_json::from_slice(&step.canonical()).expect("a stored definition reads back")
        })
        .collect();
    stored.reverse();
    dir.write("nginx.md", b"changed");
    let again = Registry::from_definitions(stored.clone()).expect("a registry");
    assert_eq!(
        (again.root(), again.manifest()),
        (registry.root(), registry.manifest())
    );
    stored.push(stored[0].clone());
    let error = Registry::from_definitions(stored).expect_err("twice");
    assert!(error[0].message.contains("already exists"), "{error:?}");
}

#[test]
fn errors_of_all_files_are_reported_together_and_in_order() {
    let dir = Dir::of(&[
        (
            "b.md",
            "---\ncountersign: 1\ntitel: x\n---\n```basch {#a}\ntrue\n```\n",
        ),
        (
            "a.md",
            "---\ncountersign: 2\n---\n```bash {#a timeout=0s}\ntrue\n```\n",
        ),
        ("old.mdx", "<Command/>"),
        ("x.runbook.md", "# x"),
        ("notes.md", "# Notes\n\n```runnable perl\nprint()\n```\n"),
        ("jekyll.md", "---\nlayout: {{ x }}\n---\nprose\n"),
        (
            "e f.md",
            "---\ncountersign: 1\n---\n```bash {#a}\ntrue\n```\n",
        ),
        (
            "same.md",
            "---\ncountersign: 1\n---\n```bash {#a}\ntrue\n```\n\n```bash {#a}\nfalse\n```\n",
        ),
    ]);
    dir.write("latin.md", b"---\ncountersign: 1\n---\nab\xe9\n");
    dir.write("large.md", &vec![b'x'; (MAX_FILE_BYTES + 1) as usize]);
    assert_eq!(
        dir.errors(),
        [
            "a.md:2:14: this program version supports only `countersign: 1`: write countersign: 1",
            "a.md:4:21: \"0s\" is zero, so nothing can run: write for example 90s, 5m or 1h30m",
            "b.md:3:1: unknown key in the front matter: \"titel\"; did you mean \"title\"? Write a note for people below `meta:`",
            "b.md:5:4: unknown interpreter: \"basch\"; did you mean \"bash\"?",
            "e f.md:1:1: \"e f\" can't be part of a step reference: rename the file; use letters, digits and . _ -, at most 255 bytes",
            "large.md:1:1: the file is larger than 262144 bytes: split the file",
            "latin.md:4:3: the file is not UTF-8: save the file as UTF-8",
            "notes.md:3:13: unknown language: \"perl\"; write one of python, node, bash, golang",
            "old.mdx:1:1: <Command> has no id: add id=\"...\"",
            "old.mdx:1:1: <Command> has no script: write the script in command=\"...\", or name its file with path=\"...\"",
            "same.md:8:11: the step same:a already exists at 4:11: change the id of one of the two steps",
            "x.runbook.md:1:1: the runbook has no step: write an H2 heading, for example ## 1. Build",
        ]
    );
}

#[test]
fn every_error_of_a_file_has_its_place() {
    let large = "x".repeat(MAX_SOURCE_BYTES);
    let front = |lines: &str| format!("---\ncountersign: 1\n{lines}\n---\n");
    for (text, expected) in [
        ("---\ncountersign: 1\n---\nprose\n".to_owned(), "a.md:1:1: the file has no step"),
        ("---\ncountersign: 1\n```bash {#a}\ntrue\n```\n".to_owned(), "a.md:1:1: the front matter is not closed"),
        (
            "\u{feff}---\ncountersign: 1\n---\n```{#a}\ntrue\n```\n".to_owned(),
            "a.md:1:1: the file begins with a byte order mark",
        ),
        ("---\r\ncountersign: 1\r\n---\r\n".to_owned(), "a.md:1:4: the file has Windows line endings"),
        (fenced("bash {#a}", "true\rfalse\n"), "a.md:6:5: the file has Windows line endings"),
        (fenced("bash {#a}", "true\0\n"), "a.md:6:5: the file contains a NUL"),
        (front("params: &x {}"), "a.md:3:12: anchors"),
        (front("title: [a"), "a.md:"),
        (front("title: a\ntitle: b"), "a.md:4:1: the key \"title\" is already at 3:1"),
        ("---\ncountersign: 1.0\n---\n".to_owned(), "a.md:2:14: \"1.0\" is not a whole number"),
        (front("secrets: [a]"), "a.md:3:1: unknown key in the front matter: \"secrets\""),
        (front("defaults: {timout: 1s}"), "a.md:3:12: unknown key in defaults: \"timout\"; did you mean \"timeout\"?"),
        (front("defaults: {timeout: 60}"), "a.md:3:21: \"60\" is not valid: write for example 90s, 5m or 1h"),
        (front("defaults: {cpu: 0.5}"), "a.md:3:17: \"0.5\" is not a whole number"),
        (front("defaults: {interpreter: fish}"), "a.md:3:25: unknown interpreter: \"fish\""),
        (front("approvals: {required: 0}"), "a.md:3:23: `required` must be 1 or more"),
        (front("approvals: {each: true}"), "a.md:3:12: `from` names no group"),
        (front("params: [a]"), "a.md:3:9: `params` must be a map"),
        (
            front("params:\n  host: {type: string, patern: x}"),
            "a.md:4:32: unknown word of a declaration: \"patern\"; did you mean \"pattern\"?",
        ),
        (front("params:\n  host: {type: string, pattern: x}"), "a.md:4:33: the pattern must begin with ^"),
        (
            front("params:\n  host: {type: string, x-secret: true, default: x}"),
            "a.md:4:9: a secret parameter has no",
        ),
        (front("params:\n  host: {type: integer, default: x}"), "a.md:4:34: the default does not fit"),
        (
            front("params:\n  a-b: {type: string}\n  a_b: {type: string}"),
            "a.md:5:8: \"a_b\" and \"a-b\" both become the variable PARAM_A_B",
        ),
        (front("params:\n  type: object\n  properties:\n    a: {type: strin}"), "a.md:6:15: unknown type"),
        (
            front("params:\n  type: object\n  properties: {}\n  required: [b]"),
            "a.md:6:14: unknown parameter in `required`",
        ),
        (fenced("bash {#a!}", "true\n"), "a.md:5:11: \"a!\" is not a valid step id"),
        (fenced("bash {#-a}", "true\n"), "a.md:5:11: \"-a\" is not a valid step id"),
        (fenced("bash {#a memory=1GB}", "true\n"), "a.md:5:20: \"1GB\" is not valid: write for example 64KiB"),
        (fenced("bash {#a params=b}", "true\n"), "a.md:5:20: unknown parameter: \"b\""),
        (fenced("bash {#a params=a,a}", "true\n"), "a.md:5:20: \"a\" is listed twice"),
        (fenced("bash {#a exclusive=\"a b\"}", "true\n"), "a.md:5:23: \"a b\" is not a valid name for exclusive runs"),
        (fenced("bash {#a check=yes}", "true\n"), "a.md:5:19: unknown value of check: \"yes\""),
        (fenced("bash {#a proc=all}", "true\n"), "a.md:5:18: unknown value of proc: \"all\""),
        (fenced("bash {#a title=\"\"}", "true\n"), "a.md:5:19: the title is empty"),
        (fenced("bash {#a secrets=\"x=y\"}", "true\n"), "a.md:5:21: \"x=y\" is not valid: write x=env:VARIABLE"),
        (fenced("bash {#a}", ""), "a.md:5:1: the block is empty"),
        (fenced("bash {#a}", " \n\n"), "a.md:5:1: the block is empty"),
        (fenced("bash {#a}", &format!("{large}\n")), "a.md:5:1: the script is larger than 65536 bytes"),
        (fenced("bash {#a}", "#!/usr/bin/env fish\ntrue\n"), "a.md:6:1: unknown interpreter: \"fish\""),
        (fenced("bash {#a}", "#!/bin/bash -e\ntrue\n"), "a.md:6:1: options in a shebang"),
        (fenced("bash {#a}", "#!/opt/bash\ntrue\n"), "a.md:6:1: \"#!/opt/bash\" does not begin with #! and a standard path (/bin, /usr/bin, /usr/local/bin): write #!/usr/bin/env"),
        (fenced("bash {#a}", "true\n").trim_end_matches("```\n").to_owned(), "a.md:5:1: the block is not closed"),
        (
            fenced("bash {#a}", "true\n    ```\n").replace("    ```\n```\n", "    ```\n"),
            "a.md:5:1: the block is not closed",
        ),
        (fenced("runnable python", "true\n"), "a.md:5:1: a ```runnable block"),
        (
            "---\ncountersign: 1\n---\nä\n\n> 1. x\n>\n>    ~~~~bash {#a tilte=x}\n>    true\n>    ~~~~\n".to_owned(),
            "a.md:8:19: unknown attribute: \"tilte\"; did you mean \"title\"?",
        ),
    ] {
        let found = errors(&text);
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{text:?}\n  expected {expected}\n  found {found:#?}"
        );
        assert!(found.len() == 1 || !expected.ends_with("is empty"), "{text:?}: {found:#?}");
    }
}

#[test]
fn links_that_lead_out_of_the_runbook_directory_are_refused() {
    let outside = Dir::of(&[("secret.md", NGINX)]);
    let dir = Dir::of(&[
        ("nginx.md", NGINX),
        (".hidden/bad.md", "---\ncountersign: 9\n---\n"),
    ]);
    symlink(outside.path().join("secret.md"), dir.path().join("out.md")).expect("a link");
    symlink(outside.path(), dir.path().join("there")).expect("a link");
    symlink("missing.md", dir.path().join("broken.md")).expect("a link");
    symlink(".", dir.path().join("loop")).expect("a link");
    fs::create_dir(dir.path().join("dir.md")).expect("a directory");
    let found = dir.errors();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(
        found[0].starts_with("broken.md:1:1: the path can't be read"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("loop:1:1: the link points to a directory above"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with("out.md:1:1: the link points out of"),
        "{found:?}"
    );
    assert!(
        found[3].starts_with("there:1:1: the link points out of"),
        "{found:?}"
    );
    let inside = Dir::of(&[("nginx.md", NGINX)]);
    symlink("nginx.md", inside.path().join("alias.md")).expect("a link");
    assert_eq!(
        inside.load().expect("a registry").steps().len(),
        2,
        "a link within is followed"
    );
    let missing = load(&[inside.path().join("none")], None).expect_err("no directory");
    assert!(
        missing[0]
            .message
            .contains("runbook directory can't be read"),
        "{missing:?}"
    );
}

#[test]
fn a_runbook_or_directory_that_other_users_can_write_is_refused() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let dir = Dir::of(&[
        ("a.md", NGINX),
        ("deep/b.md", NGINX),
        (".hidden/c.md", NGINX),
        ("deep/notes.txt", ""),
    ]);
    let me = dir.path().metadata().expect("there").uid();
    let mode = |name: &str, mode| {
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).expect("mode");
    };
    let found = |owner| match load(&[dir.path()], Some(owner)) {
        Ok(_) => String::new(),
        Err(errors) => errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
    };
    for (name, ordinary) in [
        ("a.md", 0o644),
        ("deep", 0o755),
        ("deep/b.md", 0o644),
        (".hidden", 0o755),
        ("", 0o700),
    ] {
        mode(name, ordinary);
    }
    // Other users may write this file, because it is not a runbook.
    mode("deep/notes.txt", 0o666);
    assert_eq!(found(me), "");
    for (name, ordinary) in [("a.md", 0o644), ("deep", 0o755), ("deep/b.md", 0o644)] {
        for open in [0o020, 0o002] {
            mode(name, ordinary | open);
            let says = found(me);
            assert!(
                says.starts_with(&format!("{name}:1:1: other users can write the path")),
                "{says}"
            );
            assert!(dir.load().is_ok(), "nobody asked");
        }
        mode(name, ordinary);
    }
    mode("", 0o777);
    assert!(
        found(me).contains("other users can write the path (mode 0777)"),
        "{}",
        found(me)
    );
    mode("", 0o700);
    symlink(".hidden/c.md", dir.path().join("link.md")).expect("a link");
    assert_eq!(found(me), "");
    mode(".hidden", 0o777);
    assert!(
        found(me).starts_with("link.md:1:1: other users can write the path"),
        "{}",
        found(me)
    );
    mode(".hidden", 0o755);
    if me == 0 {
        std::os::unix::fs::chown(dir.path().join("deep/b.md"), Some(4242), None)
            .expect("given away");
        assert!(
            found(0).starts_with("deep/b.md:1:1: the path belongs to user 4242"),
            "{}",
            found(0)
        );
        assert_eq!(found(4242), "", "what is root's is trusted");
    }
}

#[test]
fn the_same_ref_in_two_directories_is_refused() {
    let (a, b) = (
        Dir::of(&[("nginx.md", NGINX)]),
        Dir::of(&[("nginx.md", NGINX)]),
    );
    let both = [a.path(), b.path()];
    let reversed = [b.path(), a.path()];
    let found = load(&both, None).expect_err("one ref twice");
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("already exists at"), "{found:?}");
    assert_eq!(
        load(&reversed, None).expect_err("one ref twice"),
        found,
        "the order does not matter"
    );
}

#[test]
fn skipped_files_are_those_with_an_error_and_their_first_error_is_kept() {
    let template = "<Command id=\"a\" command=\"true\" />\n\n<Command id=\"b\" command=\"eval {{ .inputs.x }}\" inputsId=\"i\" />\n\n<Inputs id=\"i\">\n```yaml\nvariables:\n  - name: x\n    type: string\n```\n</Inputs>\n";
    let dir = Dir::of(&[
        ("nginx.md", NGINX),
        (
            "bad.md",
            "---\ncountersign: 2\n---\n```bash {#a timeout=0s}\ntrue\n```\n",
        ),
        ("late.mdx", template),
        ("deploy/web.md", WEB),
        (
            "deploy/web.mdx",
            "<Command id=\"status\" command=\"true\" />\n\n<Check id=\"other\" command=\"true\" />\n",
        ),
        (
            "same.md",
            "---\ncountersign: 1\n---\n```bash {#a}\ntrue\n```\n\n```bash {#a}\nfalse\n```\n",
        ),
    ]);
    let skipping = RunbookDirectories {
        invalid: InvalidFiles::Skipped,
        ..RunbookDirectories::strict(vec![dir.path()], None)
    };
    let registry = skipping.load().expect("one file is sound");
    let refs: Vec<&str> = registry
        .steps()
        .map(|step| step.definition.reference.as_str())
        .collect();
    assert_eq!(refs, ["nginx:restart"]);
    let skipped: Vec<String> = registry.skipped().iter().map(ToString::to_string).collect();
    let expected = [
        "bad.md:2:14: ",
        "deploy/web.md:6:11: the step",
        "deploy/web.mdx:1:",
        "late.mdx:3:",
        "same.md:8:11: the step",
    ];
    assert_eq!(skipped.len(), expected.len(), "{skipped:#?}");
    for (found, words) in skipped.iter().zip(expected) {
        assert!(found.starts_with(words), "{words}\n{skipped:#?}");
    }
    assert!(dir.load().is_err());
    symlink("missing.md", dir.path().join("broken.md")).expect("a link");
    assert!(
        skipping.load().is_err(),
        "an error of a path is never skipped"
    );
}

#[test]
fn the_locks_of_two_directories_hold_for_the_steps_of_their_own_directory() {
    use crate::LockFile;
    let (a, b) = (Dir::of(&[("nginx.md", NGINX)]), Dir::of(&[("web.md", WEB)]));
    let lock = |dir: &Dir| {
        let registry = dir.load().expect("a registry");
        LockFile::of(
            registry
                .steps()
                .map(|step| (step.definition.reference.clone(), step.digest)),
        )
    };
    let both = [a.path(), b.path()];
    lock(&a).write(&a.path()).expect("written");
    assert_eq!(
        load(&both, None)
            .expect("only one directory has a lock")
            .steps()
            .len(),
        2
    );
    lock(&a).write(&b.path()).expect("written");
    let found: Vec<String> = load(&both, None)
        .expect_err("another lock")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    let lock_file = format!(
        "{}/countersign.lock: nginx:restart is in countersign.lock, but",
        b.path().display()
    );
    let step = format!(
        "{}/web.md:6:11: web:status is not in countersign.lock",
        b.path().display()
    );
    assert!(
        found.iter().any(|error| error.starts_with(&lock_file)),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|error| error.starts_with(&step)),
        "{found:#?}"
    );
}

#[test]
fn a_step_gets_its_fields_from_its_fence_and_the_front_matter() {
    let text = "---\ncountersign: 1\ntitle: T\nparams: {host: {type: string}, user: {type: string, default: x}}\ndefaults: {timeout: 1m, interpreter: sh, cpu: 2}\n---\n```{#plain}\na\n```\n\n## The *second* `one`\n\n- item\n\n  ```python {#py params=user timeout=5s proc=full exclusive=e}\n  if x:\n      y\n  ```\n\n```bash {#env params=\"\" title=\"Own\"}\n#!/usr/bin/env zsh\nb\n```\n\n```bash\nprose\n```\n\n<!--\n```bash {#hidden}\nno\n```\n-->\n";
    let registry = Dir::of(&[("a.md", text)]).load().expect("a registry");
    let step = |id: &str| {
        &registry
            .get(&format!("a:{id}").parse().expect("a ref"))
            .expect(id)
            .definition
    };
    assert_eq!(registry.steps().len(), 3);
    let (plain, py, env) = (step("plain"), step("py"), step("env"));
    assert_eq!(
        (
            plain.title.as_str(),
            plain.interpreter.as_str(),
            plain.source.as_str()
        ),
        ("T", "sh", "a\n")
    );
    assert_eq!(
        serde_json::json!(plain.params)["required"],
        serde_json::json!(["host"])
    );
    let limits = plain.sandbox.limits.as_ref().expect("limits");
    assert_eq!(
        (limits.wall_ms, limits.cpu_milli, limits.memory_bytes),
        (Some(60_000), Some(2000), None)
    );
    assert_eq!(
        (py.title.as_str(), py.interpreter.as_str()),
        ("The second one", "python")
    );
    assert_eq!(py.source, "if x:\n    y\n");
    assert_eq!(
        serde_json::json!(py.params)["properties"]
            .as_object()
            .map(serde_json::Map::len),
        Some(1)
    );
    assert_eq!(
        py.sandbox.limits.as_ref().and_then(|limits| limits.wall_ms),
        Some(5000)
    );
    assert_eq!(py.sandbox.proc, Some(documents::Proc::Full));
    assert_eq!(py.exclusive.as_deref(), Some("e"));
    assert_eq!(
        (env.title.as_str(), env.interpreter.as_str()),
        ("Own", "zsh")
    );
    assert_eq!(
        serde_json::json!(env.params),
        serde_json::json!({"type": "object", "properties": {}, "required": []})
    );
}

#[test]
fn a_template_attribute_and_a_template_in_a_refused_place_are_errors() {
    let found = errors(&fenced("bash {#a template=gruntwork}", "true\n"));
    let expected = "a.md:5:13: unknown attribute: \"template\"";
    assert!(
        found.len() == 1 && found[0].starts_with(expected),
        "{found:?}"
    );
}

#[test]
fn a_template_in_a_place_that_is_refused_now_is_an_error_of_a_page_but_stays_readable_in_a_seal() {
    let inputs =
        "<Inputs id=\"i\">\n```yaml\nvariables:\n  - name: x\n    type: string\n```\n</Inputs>\n";
    let page = |script: &str| {
        format!("<Command id=\"a\" command=\"{script}\" inputsId=\"i\" />\n\n{inputs}")
    };
    let found = Dir::of(&[("a.mdx", &page("docker exec web {{ .inputs.x }}"))]).errors();
    assert!(
        found[0].starts_with("a.mdx:1:") && found[0].contains("would decide which program runs"),
        "{found:?}"
    );
    let registry = Dir::of(&[("a.mdx", &page("ls {{ .inputs.x }}"))])
        .load()
        .expect("a registry");
    let mut step = StepDefinition::clone(&registry.steps().next().expect("a step").definition);
    step.source = "docker exec web {{ .inputs.x }}\n".to_owned();
    let sealed = Registry::from_definitions([step.clone()]).expect("a sealed step");
    let error = sealed
        .steps()
        .next()
        .expect("a step")
        .filled(&serde_json::json!({"x": "ls"}))
        .expect_err("its place");
    assert!(
        error
            .to_string()
            .contains("would decide which program runs"),
        "{error}"
    );
    step.source = "true {{ .inputs.nobody }}\n".to_owned();
    let error = Registry::from_definitions([step]).expect_err("no version renders it");
    assert!(
        error[0].to_string().contains("no variable `nobody`"),
        "{error:?}"
    );
}

#[test]
fn a_gruntwork_runbook_reads_the_files_of_its_directory_and_gives_remarks() {
    let dir = Dir::of(&[
        (
            "ops/web.mdx",
            "<Command id=\"a\" path=\"s/a.sh\" usePty={false} />\n",
        ),
        ("ops/s/a.sh", "echo a\n"),
        ("other/s/a.sh", "echo other\n"),
    ]);
    let path = dir.path().join("ops/web.mdx");
    let page = read_one("ops/web.mdx", &path, None).expect("a page");
    assert_eq!(page.steps[0].definition.source, "echo a\n");
    assert_eq!(page.steps[0].definition.reference.as_str(), "ops/web:a");
    assert_eq!(
        page.remarks[0].to_string(),
        "1:1: attributes without effect: usePty"
    );
    let registry = dir.load().expect("a registry");
    let remarks: Vec<String> = registry.remarks().iter().map(ToString::to_string).collect();
    assert_eq!(
        remarks,
        ["ops/web.mdx:1:1: attributes without effect: usePty"]
    );
    let script = dir.path().join("ops/s/a.sh");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("permissions");
    let owner = std::os::unix::fs::MetadataExt::uid(&script.metadata().expect("metadata"));
    let flaws = read_one("ops/web.mdx", &path, Some(owner))
        .map(|page| page.steps.len())
        .expect_err("writable");
    assert!(
        flaws[0].message.contains("other users can write"),
        "{flaws:?}"
    );
}
