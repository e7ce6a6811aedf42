//! Checks the dependencies: licences, sources, duplicate versions, the needed version of Rust, and the stated purpose of each
//! dependency.
//!
//! `deny.toml` has the same rules for cargo-deny, for people and hosted CI. This test needs no other tool and no
//! network. It checks licences and duplicates for Linux, the platform of the boundary, and sources for the whole lock
//! file.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Licences of crates that may be linked into the program. GPL, LGPL and MPL are not allowed, and no crate needs them.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0", // the Unicode tables of unicode-ident: data with its own permissive licence
];

/// Crates with more than one version in the dependency tree: the name, the versions, and the reason for the older one.
const DUPLICATES: &[(&str, &[&str], &str)] = &[
    ("base64", &["0.22", "0.23"], "postgres-protocol takes 0.22"),
    (
        "fallible-iterator",
        &["0.2", "0.3"],
        "postgres-protocol takes 0.2",
    ),
    ("getrandom", &["0.2", "0.4"], "ring takes 0.2"),
    (
        "syn",
        &["2", "3"],
        "derive macros in the middle of a move to 3; nothing of it is in the program",
    ),
];

/// The packages of this workspace.
const OURS: [&str; 14] = [
    "boundary",
    "client",
    "console",
    "countersign",
    "countersign-client",
    "countersign-console",
    "crossing",
    "documents",
    "reading",
    "sandbox",
    "store",
    "verdict",
    "wire",
    "workbench",
];

#[test]
fn every_licence_is_allowed() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in packages(&metadata) {
        let name = format!(
            "{} {}",
            package["name"].as_str().unwrap(),
            package["version"].as_str().unwrap()
        );
        match package["license"].as_str() {
            None => wrong.push(format!("{name}: states no licence")),
            Some(licence) => match allowed(licence) {
                Ok(true) => {}
                Ok(false) => wrong.push(format!("{name}: `{licence}` is not allowed")),
                Err(why) => wrong.push(format!("{name}: `{licence}` can't be read: {why}")),
            },
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_dependency_needs_a_newer_rust_than_cargo_toml_states() {
    let number =
        |text: &str| -> Vec<u64> { text.split('.').map(|part| part.parse().unwrap()).collect() };
    let metadata = metadata();
    let stated = manifest("Cargo.toml")["workspace"]["package"]["rust-version"]
        .as_str()
        .unwrap()
        .to_owned();
    let newer: Vec<String> = packages(&metadata)
        .iter()
        .filter_map(|package| Some((package["name"].as_str()?, package["rust_version"].as_str()?)))
        .filter(|(_, needed)| number(&format!("{stated}.0")) < number(needed))
        .map(|(name, needed)| format!("{name} needs Rust {needed}, and Cargo.toml states {stated}"))
        .collect();
    assert!(newer.is_empty(), "\n{}\n", newer.join("\n"));
}

#[test]
fn every_source_is_the_default_registry() {
    let lock = manifest("Cargo.lock");
    let mut registries = BTreeSet::new();
    let mut wrong = Vec::new();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(toml::Value::as_str) {
            None if OURS.contains(&name) => {}
            None => wrong.push(format!("{name}: comes from a folder")),
            Some(source) if source.starts_with("registry+") => {
                registries.insert(source.to_owned());
                if package.get("checksum").is_none() {
                    wrong.push(format!("{name}: has no checksum"));
                }
            }
            Some(source) => wrong.push(format!("{name}: comes from {source}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert_eq!(registries.len(), 1, "one registry only: {registries:?}");
    let ours = manifest("Cargo.toml");
    for table in ["patch", "replace"] {
        assert!(
            ours.get(table).is_none(),
            "Cargo.toml has [{table}]: it would replace what the lock file names"
        );
    }
    for (name, dependency) in direct(&ours) {
        for key in ["git", "path", "registry", "registry-index"] {
            let is_ours = key == "path" && OURS.contains(&name.as_str());
            assert!(
                dependency.get(key).is_none() || is_ours,
                "{name}: `{key}` leaves the default registry"
            );
        }
    }
}

#[test]
fn every_duplicate_has_a_reason() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages(&metadata) {
        versions
            .entry(package["name"].as_str().unwrap())
            .or_default()
            .insert(line_of(package["version"].as_str().unwrap()));
    }
    let mut wrong = Vec::new();
    for (name, found) in versions.iter().filter(|(_, found)| found.len() > 1) {
        let expected = DUPLICATES
            .iter()
            .find(|(allowed, _, _)| allowed == name)
            .map(|(_, versions, _)| *versions);
        if !expected.is_some_and(|versions| found.iter().eq(versions)) {
            wrong.push(format!(
                "{name}: {found:?} stand in the tree; allowed are {expected:?}"
            ));
        }
    }
    for (name, _, reason) in DUPLICATES {
        assert!(!reason.is_empty());
        if versions.get(name).is_none_or(|found| found.len() < 2) {
            wrong.push(format!(
                "{name}: is no longer there twice: strike it from DUPLICATES and deny.toml"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_dependency_has_a_stated_purpose() {
    let source = read("Cargo.toml");
    let mut wrong = Vec::new();
    let (mut inside, mut commented) = (false, false);
    for (number, line) in source.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
            commented = false;
        } else if line.trim().is_empty() {
            commented = false;
        } else if line.starts_with('#') {
            commented = true;
        } else if inside && !commented && !line.contains('#') {
            wrong.push(format!("Cargo.toml:{}: {line}", number + 1));
        }
    }
    assert!(
        wrong.is_empty(),
        "no comment above says what these serve:\n{}\n",
        wrong.join("\n")
    );
}

#[test]
fn every_package_takes_its_dependencies_from_the_list_of_the_workspace() {
    for name in [
        "boundary",
        "client",
        "client-program",
        "console",
        "console-program",
        "crossing",
        "documents",
        "reading",
        "sandbox",
        "store",
        "verdict",
        "wire",
        "workbench",
        "..",
    ] {
        let file = format!("crates/{name}/Cargo.toml");
        let package = manifest(&file);
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in package
                .get(table)
                .and_then(toml::Value::as_table)
                .into_iter()
                .flatten()
            {
                let listed = value.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(
                    listed,
                    "{file}: {name}: write its version and purpose in the Cargo.toml of the workspace"
                );
            }
        }
    }
}

/// Crates of runtimes, databases, HTTP and the sandbox.
const HEAVY: [&str; 7] = [
    "axum",
    "http",
    "hyper",
    "landlock",
    "rusqlite",
    "tokio",
    "tokio-postgres",
];

/// The crates of this workspace, each with the others that its code may use, and the libraries that it may not use itself.
const WALLS: [(&str, &[&str], &[&str]); 11] = [
    ("documents", &[], &HEAVY),
    ("reading", &["documents"], &HEAVY),
    ("verdict", &["documents", "reading"], &HEAVY),
    ("sandbox", &["documents"], &["axum", "hyper", "rusqlite"]),
    ("wire", &["documents"], &["axum", "rusqlite"]),
    (
        "store",
        &["documents", "wire"],
        &["axum", "http", "hyper", "hyper-util"],
    ),
    (
        "crossing",
        &["documents", "reading", "sandbox", "store", "verdict"],
        &[
            "axum",
            "http",
            "hyper",
            "hyper-util",
            "rusqlite",
            "tokio-postgres",
        ],
    ),
    (
        "boundary",
        &[
            "crossing",
            "documents",
            "reading",
            "sandbox",
            "store",
            "verdict",
            "wire",
        ],
        &["rusqlite", "tokio-postgres"],
    ),
    (
        "client",
        &["documents", "reading", "verdict", "wire"],
        &["axum", "landlock", "rusqlite", "tokio-postgres"],
    ),
    (
        "console",
        &["client", "documents", "reading", "verdict", "wire"],
        &["landlock", "rusqlite", "tokio-postgres"],
    ),
    (
        "workbench",
        &[
            "boundary",
            "client",
            "console",
            "crossing",
            "documents",
            "reading",
            "sandbox",
            "verdict",
            "wire",
        ],
        &["landlock", "rusqlite", "tokio-postgres"],
    ),
];

#[test]
fn the_walls_between_the_crates_stand() {
    let own: BTreeSet<String> =
        std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    for (name, may, may_not) in WALLS {
        let package = manifest(&format!("crates/{name}/Cargo.toml"));
        let used: BTreeSet<&str> = package["dependencies"]
            .as_table()
            .expect("a table")
            .keys()
            .map(String::as_str)
            .collect();
        let others = used.iter().filter(|used| own.contains(**used)).copied();
        assert_eq!(others.collect::<Vec<_>>(), may, "{name}");
        let wrong: Vec<_> = may_not.iter().filter(|one| used.contains(*one)).collect();
        assert!(wrong.is_empty(), "{name} uses {wrong:?}");
    }
}

#[test]
fn deny_toml_has_the_licences_and_duplicates_of_this_test() {
    let deny = manifest("deny.toml");
    let text = |v: &toml::Value| v.as_str().unwrap().to_owned();
    let allow: BTreeSet<String> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    assert_eq!(allow, LICENCES.iter().map(|l| (*l).to_owned()).collect());
    let skipped: BTreeSet<String> = deny["bans"]["skip"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| text(&entry["crate"]).split('@').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        skipped,
        DUPLICATES
            .iter()
            .map(|(name, _, _)| (*name).to_owned())
            .collect()
    );
}

#[test]
fn a_licence_expression_is_parsed_by_the_spdx_rules() {
    for yes in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "(MIT OR GPL-3.0) AND BSD-3-Clause",
        "GPL-3.0 AND MIT OR Zlib",
    ] {
        assert_eq!(allowed(yes), Ok(true), "{yes}");
    }
    for no in [
        "GPL-3.0",
        "MIT AND MPL-2.0",
        "MIT AND (GPL-3.0 OR MPL-2.0)",
        "MIT WITH LLVM-exception",
        "BSD-3-Clause AND GPL-2.0 OR AGPL-3.0",
    ] {
        assert_eq!(allowed(no), Ok(false), "{no}");
    }
    for unreadable in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "AND MIT"] {
        assert!(allowed(unreadable).is_err(), "{unreadable}");
    }
}

/// Whether allowed licences satisfy an SPDX expression. `AND` binds tighter than `OR`, and `/` is an old form of `OR`.
fn allowed(expression: &str) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let verdict = any_of(&words, &mut at)?;
    if at == words.len() {
        Ok(verdict)
    } else {
        Err(format!("unexpected `{}`", words[at]))
    }
}

fn any_of(words: &[&str], at: &mut usize) -> Result<bool, String> {
    let mut verdict = all_of(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        verdict |= all_of(words, at)?;
    }
    Ok(verdict)
}

fn all_of(words: &[&str], at: &mut usize) -> Result<bool, String> {
    let mut verdict = one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        verdict &= one(words, at)?;
    }
    Ok(verdict)
}

fn one(words: &[&str], at: &mut usize) -> Result<bool, String> {
    let word = words.get(*at).copied().ok_or("it ends too early")?;
    *at += 1;
    match word {
        "(" => {
            let verdict = any_of(words, at)?;
            if words.get(*at) != Some(&")") {
                return Err("a bracket is not closed".to_owned());
            }
            *at += 1;
            Ok(verdict)
        }
        ")" | "AND" | "OR" | "WITH" => Err(format!("unexpected `{word}`")),
        licence if words.get(*at) == Some(&"WITH") => {
            let exception = words.get(*at + 1).copied().ok_or("it ends too early")?;
            *at += 2;
            Ok(LICENCES.contains(&format!("{licence} WITH {exception}").as_str()))
        }
        licence => Ok(LICENCES.contains(&licence)),
    }
}

/// Returns the part of a version that compatible releases share: `1` for `1.4.2`, and `0.3` for `0.3.4`.
fn line_of(version: &str) -> String {
    let parts: Vec<&str> = version.split('.').collect();
    if parts[0] == "0" {
        format!("0.{}", parts[1])
    } else {
        parts[0].to_owned()
    }
}

fn metadata() -> Value {
    // Without the filter, cargo needs the crates of every platform on disk.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
            &platform,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

fn direct(manifest: &toml::Value) -> Vec<(String, toml::Value)> {
    let named = manifest["workspace"]["dependencies"]
        .as_table()
        .expect("a table");
    named
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn manifest(file: &str) -> toml::Value {
    toml::Value::Table(read(file).parse().unwrap_or_else(|e| panic!("{file}: {e}")))
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
