//! Checks the layout of the source code that cargo and types can't hold: which room of a crate may import which other room, and
//! who may open a store or a sandbox.
//!
//! A room is a directory below `src/` of a crate. The manifests hold which crates a crate may use, and `supply_chain.rs`
//! reads them. The test checks every path in the code, not only `use` lines. Comments and strings do not count.
//! CONTRIBUTING.md shows the layout.
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::rust_source::{Token, closing, rust_files, text, tokens};

/// Each crate with its rooms. A room may import only rooms that come earlier in the list. `*` stands for the files that are in
/// no listed room.
const CRATES: &[(&str, &[&str])] = &[
    ("documents", &["words.rs", "mutex.rs", "crypto", "record"]),
    ("wire", &["api", "tls", "mcp"]),
    (
        "reading",
        &[
            "yaml", "written", "shell", "template", "registry", "policy", "*",
        ],
    ),
    ("verdict", &["trust", "decision", "audit"]),
    (
        "sandbox",
        &["isolation", "programs", "sessions", "relay", "runs"],
    ),
    ("store", &["metrics", "*"]),
    ("crossing", &["seal", "carried", "*"]),
    ("boundary", &["*", "http"]),
    (
        "client",
        &[
            "signers", "terminal", "home", "remote", "review", "commands",
        ],
    ),
    (
        "console",
        &[
            "page",
            "web",
            "auditor",
            "proposal",
            "companion",
            "desk",
            "command",
        ],
    ),
    ("workbench", &["local", "notebook"]),
    ("countersign", &["node", "cli"]),
];

/// Crates on which a guarantee depends, each with its directory. Only one file there may use the crate, with the files in
/// the directory of the same name.
const GUARANTEES: &[(&str, &str)] = &[
    ("ed25519_dalek", "crates/documents/src/crypto/"),
    ("canonical_json", "crates/documents/src/crypto/"),
    ("landlock", "crates/sandbox/src/isolation/"),
    ("prometheus_client", "crates/store/src/metrics/"),
    ("rusqlite", "crates/store/src/"),
];

/// Crates that only these files may use.
const CONFINED: &[(&str, &[&str])] = &[
    ("tokio_postgres", &["crates/store/src/postgres"]),
    ("rustls", &["crates/wire/src/tls/"]),
    ("rustls_native_certs", &["crates/wire/src/tls/"]),
    ("tokio_rustls", &["crates/wire/src/tls/"]),
    // The interface of this crate changes often.
    (
        "rmcp",
        &["crates/wire/src/mcp/", "crates/boundary/src/http/mcp.rs"],
    ),
];

/// The constructors of what spends nonces and starts runs, each with the files that may call it.
const OPENED_BY: &[(&str, &[&str])] = &[
    ("Ledger", &["src/node/open_store.rs", "src/node/restore.rs"]),
    ("LinuxSandbox", &["src/node/host_sandbox.rs"]),
    // Runs without a boundary: at a terminal, and in trials of a host.
    (
        "LocalSandbox",
        &[
            "crates/workbench/src/local/host_sandbox.rs",
            "src/cli/sandbox.rs",
        ],
    ),
];

/// Rooms that load no key and sign nothing, each with the modules that it may name although they can sign with a given key. A
/// desk takes from them the bytes and the consent of a signature that a passkey makes in the browser.
const WITHOUT_KEYS: [(&str, &[&str]); 7] = [
    ("crates/console/src/auditor/", &[]),
    ("crates/console/src/command/", &[]),
    (
        "crates/console/src/desk/",
        &["client::commands::approve", "client::commands::deny"],
    ),
    ("crates/console/src/page/", &[]),
    ("crates/console/src/proposal/", &[]),
    ("crates/console/src/web/", &[]),
    ("crates/workbench/src/notebook/", &[]),
];
/// Modules that hold keys or sign.
const OF_KEYS: [&str; 8] = [
    "client::home::keys",
    "client::commands::approve",
    "client::commands::deny",
    "client::commands::key",
    "client::signers::signer",
    "client::signers::ssh_agent",
    "console::companion::signing",
    "documents::crypto::signature",
];

/// Functions that start a process with a copy of the service's memory.
const FORKING: &[&str] = &["pre_exec", "before_exec", "fork", "vfork", "clone3"];

/// Returns all source files of the workspace, each as a path from its root and a text.
fn source_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["src", "crates"]
        .iter()
        .flat_map(|directory| rust_files(&root.join(directory)))
        .map(|(path, source)| {
            (
                path.strip_prefix(root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
                source,
            )
        })
        .filter(|(path, _)| !path.contains("crates/client-program/tests/"))
        .collect()
}

/// The names at the root of each crate, each with the path of its definition: what `pub use` in `lib.rs` says.
fn contents(files: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for (path, source) in files.iter().filter(|(path, _)| place(path).1 == "lib.rs") {
        let tokens = tokens(source);
        let mut named = Vec::new();
        for at in
            (0..tokens.len()).filter(|at| text(&tokens, *at) == "use" && exported(&tokens, *at))
        {
            paths(&tokens, at + 1, &[], &mut named);
        }
        let package = place(path).0.to_owned();
        for mut defined in named {
            if defined.last().is_some_and(|last| last == "self") {
                defined.pop();
            }
            let name = defined.last().cloned().unwrap_or_default();
            defined.insert(0, package.clone());
            found.insert(format!("{package}::{name}"), defined);
        }
    }
    found
}

/// Replaces a name at the root of a crate by the path of its definition.
fn resolved(path: &[String], contents: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let known = path
        .get(..2)
        .and_then(|root| contents.get(&root.join("::")));
    known.map_or_else(|| path.to_vec(), |defined| [defined, &path[2..]].concat())
}

/// Returns the crate of a file, and the path of the file below `src/` of the crate.
fn place(path: &str) -> (&str, &str) {
    match path
        .strip_prefix("crates/")
        .and_then(|rest| rest.split_once("/src/"))
    {
        Some(place) => place,
        None => ("countersign", path.strip_prefix("src/").unwrap_or(path)),
    }
}

#[test]
fn every_import_is_from_a_lower_layer() {
    let files = source_files();
    assert!(
        files.len() > 400,
        "only {} files found: the test looks in the wrong place",
        files.len()
    );
    let found = violations(&files);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    for (name, _) in CRATES {
        let files: Vec<_> = source_files()
            .into_iter()
            .filter(|(path, _)| place(path).0 == *name)
            .collect();
        let found: Vec<String> = circles(&files)
            .iter()
            .map(|circle| circle.join(" -> "))
            .collect();
        assert!(
            found.is_empty(),
            "files that import each other in a circle:\n{}\n",
            found.join("\n")
        );
    }
}

#[test]
fn only_the_service_opens_stores_and_sandboxes() {
    for (name, files) in OPENED_BY {
        let mut callers = BTreeSet::new();
        for (file, source) in source_files() {
            let tokens = tokens(&source);
            let calls = (0..tokens.len()).any(|at| {
                !tokens[at].in_test
                    && text(&tokens, at) == *name
                    && text(&tokens, at + 1) == "::"
                    && text(&tokens, at + 2) == "open"
            });
            if calls && !file.ends_with("tests.rs") && !file.contains("/tests/") {
                callers.insert(file);
            }
        }
        let expected = files.iter().map(|file| (*file).to_owned());
        assert_eq!(callers, expected.collect::<BTreeSet<_>>(), "{name}");
    }
}

#[test]
fn notebook_auditor_and_desk_name_nothing_that_holds_a_key() {
    let (mut found, mut read) = (Vec::new(), BTreeSet::new());
    let files = source_files();
    let contents = contents(&files);
    for (file, source) in files {
        let Some((room, given)) = WITHOUT_KEYS.iter().find(|(room, _)| file.starts_with(room))
        else {
            continue;
        };
        read.insert(*room);
        let tokens = tokens(&source);
        let mut named = Vec::new();
        for i in (0..tokens.len())
            .filter(|i| text(&tokens, i + 1) == "::" && (*i == 0 || text(&tokens, i - 1) != "::"))
        {
            paths(&tokens, i, &[], &mut named);
        }
        for path in &mut named {
            if path[0] == "crate" {
                place(&file).0.clone_into(&mut path[0]);
            }
            let path = resolved(path, &contents).join("::");
            let holds =
                |module: &&str| path == **module || path.starts_with(&format!("{module}::"));
            let mut keys = OF_KEYS.iter().filter(|module| !given.contains(module));
            found.extend(
                keys.find(|module| holds(module))
                    .map(|_| format!("{file}: {path}")),
            );
        }
    }
    assert_eq!(
        read.len(),
        WITHOUT_KEYS.len(),
        "a room is missing: the test looks in the wrong place"
    );
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn no_public_type_name_is_used_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, source) in source_files() {
        for (name, line) in public_types(&source) {
            places
                .entry(name)
                .or_default()
                .push(format!("{file}:{line}"));
        }
    }
    assert!(
        places.len() > 400,
        "only {} types found: the test looks in the wrong place",
        places.len()
    );
    // Argument types of clap may have equal names if the names end in `Args`.
    let twice: Vec<String> = places
        .iter()
        .filter(|(name, places)| places.len() > 1 && !name.ends_with("Args"))
        .map(|(name, places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(
        twice.is_empty(),
        "each of these names belongs to more than one type:\n{}\n",
        twice.join("\n")
    );
}

/// Returns the names and lines of the types that other files can use.
fn public_types(source: &str) -> Vec<(String, usize)> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for (i, token) in tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "pub" && !token.in_test)
    {
        let mut at = i + 1;
        if text(&tokens, at) == "(" {
            while text(&tokens, at) != ")" {
                at += 1;
            }
            at += 1;
        }
        if matches!(
            text(&tokens, at),
            "struct" | "enum" | "trait" | "type" | "union"
        ) {
            let name = text(&tokens, at + 1);
            // `$name` is in the body of a macro. The calls of the macro contain the names of the types.
            if name != "$" {
                found.push((name.to_owned(), token.line));
            }
        }
    }
    found
}

/// Returns the groups of files that import each other, directly or through other files. Unit tests do not count.
fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let module = |path: &str| -> Vec<String> {
        let inside = place(path).1.trim_end_matches(".rs");
        let mut parts: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        parts
    };
    let is_code = |path: &str| {
        !path.ends_with("tests.rs")
            && !path.contains("/tests/")
            && !matches!(place(path).1, "lib.rs" | "main.rs")
    };
    let contents = contents(files);
    let owners: BTreeMap<Vec<String>, &str> = files
        .iter()
        .filter(|(path, _)| is_code(path))
        .map(|(path, _)| (module(path), path.as_str()))
        .collect();
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, source) in files.iter().filter(|(path, _)| is_code(path)) {
        let (tokens, own) = (tokens(source), module(path));
        let mut named = Vec::new();
        for (i, token) in tokens
            .iter()
            .enumerate()
            .filter(|(_, token)| !token.in_test)
        {
            // `pub(in crate::cli)` is no import.
            let visibility = i > 2 && text(&tokens, i - 1) == "in" && text(&tokens, i - 3) == "pub";
            if text(&tokens, i + 1) != "::" || (i > 0 && text(&tokens, i - 1) == "::") || visibility
            {
                continue;
            }
            match token.text.as_str() {
                "crate" => paths(&tokens, i + 2, &[], &mut named),
                "super" => paths(
                    &tokens,
                    i + 2,
                    own.split_last().map_or(&[], |(_, above)| above),
                    &mut named,
                ),
                "self" => paths(&tokens, i + 2, &own, &mut named),
                // A path can begin with the name of a child module of this file.
                child if owners.contains_key(&[&own[..], &[child.to_owned()]].concat()) => {
                    named.push([&own[..], &[child.to_owned()]].concat());
                }
                _ => {}
            }
        }
        let owner = |name: &Vec<String>| {
            let whole = [&[place(path).0.to_owned()], &name[..]].concat();
            let name = &resolved(&whole, &contents)[1..];
            (1..=name.len())
                .rev()
                .find_map(|end| owners.get(&name[..end]).copied())
        };
        imports.insert(
            path,
            named
                .iter()
                .filter_map(owner)
                .filter(|other| other != path)
                .collect(),
        );
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> = imports
        .keys()
        .map(|from| (*from, reached(&imports, from)))
        .collect();
    let mut found: Vec<Vec<String>> = Vec::new();
    for (file, far) in &reach {
        let circle: Vec<String> = far
            .iter()
            .filter(|other| far.contains(file) && reach[**other].contains(file))
            .map(|other| (*other).to_owned())
            .collect();
        if !circle.is_empty() && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// Collects the paths of the `use` or the expression at this token, with one path for each member of a group.
fn paths(tokens: &[Token], mut at: usize, before: &[String], into: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        if text(tokens, at) == "{" {
            let end = closing(tokens, at);
            let mut i = at + 1;
            while i < end {
                paths(tokens, i, &path, into);
                while i < end && text(tokens, i) != "," {
                    i = if text(tokens, i) == "{" {
                        closing(tokens, i) + 1
                    } else {
                        i + 1
                    };
                }
                i += 1;
            }
            return;
        }
        path.push(text(tokens, at).to_owned());
        if text(tokens, at + 1) != "::" {
            break;
        }
        at += 2;
    }
    into.push(path);
}

/// Returns all files that one file imports, directly or through other files.
fn reached<'a>(imports: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut waiting: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
    while let Some(next) = waiting.pop() {
        if seen.insert(next) {
            waiting.extend(imports.get(next).into_iter().flatten().copied());
        }
    }
    seen
}

/// Returns all violations of the layout, each as `file:line: description`.
fn violations(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut named: BTreeMap<&str, Vec<(String, usize)>> = BTreeMap::new();
    let mut dangerous: Vec<(String, usize)> = Vec::new();
    let contents = contents(files);
    for (path, source) in files {
        let tokens = tokens(source);
        let mut say = |line: usize, what: String| found.push(format!("{path}:{line}: {what}"));
        let (package, inside) = place(path);
        let rooms = CRATES
            .iter()
            .find(|(name, _)| *name == package)
            .map_or(&[][..], |(_, rooms)| *rooms);
        let storey = |name: &str| {
            let listed = rooms.iter().position(|room| *room == name);
            listed.or_else(|| rooms.iter().position(|room| *room == "*"))
        };
        let room = match inside.split_once('/') {
            _ if rooms.is_empty() => "",
            Some((folder, _)) => folder,
            None if inside == "lib.rs" || inside == "main.rs" => "",
            None => inside,
        };
        let own = storey(room);
        if !room.is_empty() && own.is_none() {
            say(
                1,
                format!("{room} is in no room of tests/house/layers.rs: give it its storey there"),
            );
            continue;
        }
        for (i, token) in tokens.iter().enumerate() {
            let line = token.line;
            let before = if i == 0 { "" } else { text(&tokens, i - 1) };
            match token.text.as_str() {
                "crate" if text(&tokens, i + 1) == "::" && !rooms.is_empty() => {
                    let mut named = Vec::new();
                    paths(&tokens, i + 2, &[package.to_owned()], &mut named);
                    for path in named {
                        let target = &resolved(&path, &contents)[1];
                        if room.is_empty() {
                            say(line, format!("{inside} may not name `crate::{target}`"));
                        } else if storey(target).is_none() {
                            say(
                                line,
                                format!(
                                    "`crate::{target}` is no room: import by the path of the file that owns it"
                                ),
                            );
                        } else if storey(target) > own {
                            say(line, format!("room {room} may not import {target}"));
                        }
                    }
                }
                "super"
                    if text(&tokens, i + 1) == "::"
                        && !token.in_test
                        && !inside.ends_with("tests.rs") =>
                {
                    match text(&tokens, i + 2) {
                        "*" => say(
                            line,
                            "`super::*` outside tests: import by the full path".to_owned(),
                        ),
                        "super" => say(
                            line,
                            "`super::super` hides what room it reaches: write `crate::…`"
                                .to_owned(),
                        ),
                        other if rooms.contains(&other) => {
                            say(
                                line,
                                format!(
                                    "`super::{other}` may reach another room: write `crate::…`"
                                ),
                            );
                        }
                        _ => {}
                    }
                }
                "use" if exported(&tokens, i) && inside != "lib.rs" => {
                    say(
                        line,
                        "only lib.rs names what other crates use: import by the path of the file"
                            .to_owned(),
                    );
                }
                // The configuration has a table with this name.
                "postgres" if path.starts_with("src/node/config") => {}
                engine @ ("sqlite" | "postgres") if package != "store" && inside != "lib.rs" => {
                    say(
                        line,
                        format!("`{engine}` is an engine of the store: use `store::database`"),
                    );
                }
                "unsafe" => dangerous.push((path.clone(), line)),
                word if FORKING.contains(&word)
                    && package != "sandbox"
                    && text(&tokens, i + 1) == "("
                    && before != "fn" =>
                {
                    say(
                        line,
                        format!(
                            "`{word}` outside the sandbox's helper: a large service never forks"
                        ),
                    );
                }
                _ => {}
            }
            let is_path = text(&tokens, i + 1) == "::" || matches!(before, "use" | "crate");
            for (confined, places) in CONFINED {
                let is_elsewhere = !places.iter().any(|place| path.starts_with(place));
                if token.text == *confined && is_path && before != "::" && is_elsewhere {
                    say(
                        line,
                        format!("`{confined}` belongs to {}", places.join(", ")),
                    );
                }
            }
            for (guarantee, home) in GUARANTEES {
                if token.text == *guarantee
                    && is_path
                    && !matches!(before, "::" | "." | "mod" | "fn")
                {
                    if !path.starts_with(home) {
                        say(
                            line,
                            format!(
                                "`{guarantee}` carries a guarantee and belongs to one file of {home}"
                            ),
                        );
                    } else {
                        named
                            .entry(guarantee)
                            .or_default()
                            .push((path.clone(), line));
                    }
                }
            }
        }
    }
    for (guarantee, places) in named {
        more_than_one_file(
            &mut found,
            &places,
            &format!("`{guarantee}` carries a guarantee"),
        );
    }
    for (path, line) in &dangerous {
        // `memory.rs` calls a function of the allocator, and `clock_sync.rs` reads adjtimex(2). Both lack a safe wrapper.
        // `service_manager.rs` takes variables and descriptors that systemd passed.
        let outside = [
            "src/node/memory.rs",
            "src/node/clock_sync.rs",
            "src/node/service_manager.rs",
        ];
        if !path.starts_with("crates/sandbox/") && !outside.contains(&path.as_str()) {
            found.push(format!(
                "{path}:{line}: unsafe code outside the sandbox's helper"
            ));
        }
    }
    dangerous.retain(|(path, _)| path.starts_with("crates/sandbox/"));
    more_than_one_file(&mut found, &dangerous, "unsafe code");
    found.sort();
    found.dedup();
    found
}

fn more_than_one_file(found: &mut Vec<String>, places: &[(String, usize)], what: &str) {
    // `sqlite.rs` and the files in `sqlite/` count as one file.
    let stem = |path: &str| path.trim_end_matches(".rs").to_owned();
    let Some(home) = places
        .iter()
        .map(|(path, _)| path)
        .min_by_key(|path| path.len())
    else {
        return;
    };
    let lives_there = |path: &str| path == home || path.starts_with(&format!("{}/", stem(home)));
    for (path, line) in places.iter().filter(|(path, _)| !lives_there(path)) {
        found.push(format!(
            "{path}:{line}: {what} and stands in {home} already: one file only"
        ));
    }
}

/// Whether `pub` or `pub(…)` is before the `use` at this token.
fn exported(tokens: &[Token], at: usize) -> bool {
    let mut i = at;
    if i > 0 && text(tokens, i - 1) == ")" {
        while i > 0 && text(tokens, i) != "(" {
            i -= 1;
        }
    }
    i > 0 && text(tokens, i - 1) == "pub"
}

/// Tests of the checker: each rule finds its violations, and comments and strings cause no finding.
mod checker {
    use super::*;

    fn check(path: &str, source: &str) -> Vec<String> {
        violations(&[(path.to_owned(), source.to_owned())])
    }

    #[test]
    fn imports_from_lower_modules_are_accepted() {
        assert_eq!(
            check(
                "crates/documents/src/record/seal.rs",
                "use crate::crypto::digest;\nuse crate::record::ident::Name;"
            ),
            [""; 0]
        );
        assert_eq!(check("src/cli/seal.rs", "use crate::node::start;"), [""; 0]);
        assert_eq!(
            check(
                "crates/boundary/src/http/app.rs",
                "use crate::{Boundary, health};"
            ),
            [""; 0]
        );
    }

    #[test]
    fn an_import_from_a_higher_module_is_reported_with_its_line() {
        assert_eq!(
            check(
                "crates/documents/src/crypto/digest.rs",
                "//! x\nuse crate::record::ident;"
            ),
            ["crates/documents/src/crypto/digest.rs:2: room crypto may not import record"]
        );
    }

    #[test]
    fn modules_of_one_layer_cannot_import_each_other() {
        assert_eq!(
            check(
                "crates/verdict/src/trust/mod.rs",
                "fn f(x: crate::decision::window::RunWindow) {}"
            ),
            ["crates/verdict/src/trust/mod.rs:1: room trust may not import decision"]
        );
        assert_eq!(
            check("crates/boundary/src/health.rs", "use crate::http::app;"),
            ["crates/boundary/src/health.rs:1: room health.rs may not import http"]
        );
    }

    #[test]
    fn a_public_type_is_found_with_its_line_and_a_private_type_is_not() {
        let source = "struct A;\npub(crate) enum B {}\npub type C = u8;\n#[cfg(test)]\nmod tests { pub struct D; }";
        assert_eq!(
            public_types(source),
            [("B".to_owned(), 2), ("C".to_owned(), 3)]
        );
    }

    #[test]
    fn a_cycle_of_files_is_found_through_groups_and_child_modules() {
        let files = |sources: &[(&str, &str)]| -> Vec<(String, String)> {
            sources
                .iter()
                .map(|(path, source)| ((*path).to_owned(), (*source).to_owned()))
                .collect()
        };
        let two = [
            ("src/a/x.rs", "use crate::a::{y::Y, z};"),
            ("src/a/y.rs", "fn f() { crate::a::x::g(); }"),
        ];
        assert_eq!(circles(&files(&two)), [["src/a/x.rs", "src/a/y.rs"]]);
        let child = [
            ("src/a/mod.rs", "mod b;\nfn f() { b::g(); }"),
            ("src/a/b.rs", "use super::f;"),
        ];
        assert_eq!(circles(&files(&child)).len(), 1);
        let none = [
            ("src/a/mod.rs", "pub mod b;"),
            ("src/a/b.rs", "#[cfg(test)]\nmod tests { use crate::a::f; }"),
        ];
        assert_eq!(circles(&files(&none)), [[""; 0]; 0]);
    }

    #[test]
    fn every_path_of_an_import_group_is_checked() {
        assert_eq!(
            check(
                "crates/documents/src/record/seal.rs",
                "use crate::{crypto::{digest, json}, store::ledger};"
            ),
            [
                "crates/documents/src/record/seal.rs:1: `crate::store` is no room: import by the path of the file that owns it"
            ]
        );
    }

    #[test]
    fn a_name_at_the_root_belongs_to_the_room_that_defines_it() {
        let files = [
            (
                "crates/documents/src/lib.rs",
                "pub(crate) use crypto::digest::Digest;\npub use record::seal::Seal;",
            ),
            (
                "crates/documents/src/crypto/json.rs",
                "use crate::{Digest, Seal};",
            ),
        ]
        .map(|(path, source)| (path.to_owned(), source.to_owned()));
        assert_eq!(
            violations(&files),
            ["crates/documents/src/crypto/json.rs:1: room crypto may not import record"]
        );
    }

    #[test]
    fn comments_and_strings_and_visibility_modifiers_do_not_count_as_imports() {
        let source = "// use crate::http::x;\n/* crate::http /* nested */ crate::cli */\npub(crate) fn f<'a>(c: &'a str) -> bool {\n\
             c == \"crate::http::x\" || c == r#\"crate::cli \"x\" \"# || c.contains('\"') || b'\\'' == 1 }\n//! unsafe";
        assert_eq!(
            check("crates/documents/src/crypto/json.rs", source),
            [""; 0]
        );
    }

    #[test]
    fn code_after_a_string_is_checked() {
        assert_eq!(
            check(
                "crates/documents/src/crypto/json.rs",
                "const A: &str = \"\\\"\";\nconst B: char = '\\'';\nuse crate::cli::x;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/json.rs",
                "fn f<'a>(x: &'a str) {}\nuse crate::cli::x;"
            )
            .len(),
            1
        );
    }

    #[test]
    fn re_exports_and_glob_imports_from_the_parent_module_are_refused() {
        assert_eq!(
            check(
                "crates/documents/src/crypto/mod.rs",
                "pub use crate::crypto::digest::Digest;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/mod.rs",
                "pub(crate) use crate::crypto::digest::Digest;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/lib.rs",
                "pub use crypto::digest::Digest;"
            ),
            [""; 0]
        );
        assert_eq!(
            check("crates/documents/src/crypto/json.rs", "use super::*;").len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/json.rs",
                "use super::super::digest;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/mod.rs",
                "use super::record::seal;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/json.rs",
                "#[cfg(test)]\nmod tests { use super::*; }"
            ),
            [""; 0]
        );
        assert_eq!(
            check(
                "crates/documents/src/crypto/json.rs",
                "#[cfg(test)]\nmod tests { fn f() {} }\nuse super::*;"
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_name_at_the_root_of_a_crate_is_the_path_of_its_definition() {
        let root = (
            "crates/sandbox/src/lib.rs".to_owned(),
            "pub use runs::{self, linux::Linux};".to_owned(),
        );
        let contents = contents(&[root]);
        let of = |path: &str| {
            resolved(
                &path.split("::").map(str::to_owned).collect::<Vec<_>>(),
                &contents,
            )
            .join("::")
        };
        assert_eq!(
            of("sandbox::Linux::new"),
            "sandbox::runs::linux::Linux::new"
        );
        assert_eq!(of("sandbox::runs::Plan"), "sandbox::runs::Plan");
        assert_eq!(of("wire::Linux"), "wire::Linux");
        assert_eq!(of("sandbox"), "sandbox");
    }

    #[test]
    fn a_crate_with_a_guarantee_is_used_in_only_one_file() {
        assert_eq!(
            check(
                "crates/documents/src/crypto/signature.rs",
                "use ed25519_dalek::VerifyingKey;"
            ),
            [""; 0]
        );
        assert_eq!(
            check(
                "crates/verdict/src/trust/trusted_roster.rs",
                "fn f(k: ed25519_dalek::VerifyingKey) {}"
            )
            .len(),
            1
        );
        let two = [
            (
                "crates/store/src/ledger.rs".to_owned(),
                "use rusqlite::Connection;".to_owned(),
            ),
            (
                "crates/store/src/sqlite.rs".to_owned(),
                "use rusqlite::Connection;".to_owned(),
            ),
        ];
        assert_eq!(
            violations(&two),
            [
                "crates/store/src/sqlite.rs:1: `rusqlite` carries a guarantee and stands in crates/store/src/ledger.rs already: one file only"
            ]
        );
        assert_eq!(
            check(
                "crates/documents/src/record/profile.rs",
                "const L: &str = \"landlock\"; fn landlock() { x.landlock(); }"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_confined_crate_is_used_only_in_its_files() {
        assert_eq!(
            check(
                "crates/wire/src/tls/server.rs",
                "use tokio_rustls::rustls::Error;"
            ),
            [""; 0]
        );
        assert_eq!(
            check(
                "crates/boundary/src/http/connection.rs",
                "use tokio_rustls::TlsAcceptor;"
            )
            .len(),
            1
        );
        assert_eq!(
            check(
                "crates/wire/src/tls/client_config.rs",
                "use rustls::Error;\nuse rustls_native_certs::x;"
            ),
            [""; 0]
        );
        assert_eq!(
            check(
                "crates/client/src/remote/client.rs",
                "use rustls_native_certs::load_native_certs;"
            )
            .len(),
            1
        );
        assert_eq!(
            check("src/node/mod.rs", "fn f(x: rustls::Error) {}").len(),
            1
        );
        assert_eq!(
            check("crates/wire/src/mcp/server.rs", "use rmcp::model::Tool;"),
            [""; 0]
        );
        assert_eq!(
            check("crates/boundary/src/http/mcp.rs", "use rmcp::model::Tool;"),
            [""; 0]
        );
        assert_eq!(
            check("src/cli/mcp.rs", "fn f(t: rmcp::model::Tool) {}").len(),
            1
        );
    }

    #[test]
    fn only_the_store_names_its_engines() {
        assert_eq!(
            check("crates/store/src/database.rs", "use crate::sqlite;"),
            [""; 0]
        );
        assert_eq!(
            check("src/node/serve.rs", "use store::Database; // sqlite"),
            [""; 0]
        );
        assert_eq!(
            check("src/node/serve.rs", "use store::{Ledger, sqlite};").len(),
            1
        );
        assert_eq!(
            check(
                "src/cli/store.rs",
                "#[cfg(test)]\nmod tests { fn f() { store::postgres::x(); } }"
            )
            .len(),
            1
        );
    }

    #[test]
    fn only_the_sandbox_helper_contains_fork_and_unsafe_code() {
        assert_eq!(
            check(
                "crates/boundary/src/tokens.rs",
                "fn f() { command.pre_exec(|| Ok(())); }"
            )
            .len(),
            1
        );
        assert_eq!(
            check("src/node/mod.rs", "fn f() { libc::fork(); }").len(),
            1
        );
        assert_eq!(
            check(
                "crates/sandbox/src/isolation/launcher.rs",
                "fn f() { unsafe { libc::fork() }; }"
            ),
            [""; 0]
        );
        assert_eq!(
            check("crates/store/src/sqlite.rs", "unsafe fn f() {}").len(),
            1
        );
        let two = [
            (
                "crates/sandbox/src/isolation/a.rs".to_owned(),
                "unsafe fn f() {}".to_owned(),
            ),
            (
                "crates/sandbox/src/isolation/b.rs".to_owned(),
                "fn g() { unsafe { f() } }".to_owned(),
            ),
        ];
        assert_eq!(violations(&two).len(), 1);
    }

    #[test]
    fn a_module_without_a_layer_is_refused() {
        assert_eq!(check("src/util/mod.rs", "").len(), 1);
        assert_eq!(check("src/helpers.rs", "").len(), 1);
    }
}

/// The header of a directory is its table of contents, and files that join others must not leave their names there.
#[test]
fn each_file_that_the_header_of_a_directory_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut named, mut wrong) = (0, Vec::new());
    for (path, source) in ["src", "crates"]
        .iter()
        .flat_map(|top| rust_files(&root.join(top)))
    {
        if !path.ends_with("mod.rs") {
            continue;
        }
        for line in source.lines().take_while(|line| line.starts_with("//!")) {
            for part in line.split("[`").skip(1) {
                let name = part.split('`').next().unwrap();
                if name.contains("::") {
                    continue;
                }
                named += 1;
                let directory = path.parent().unwrap();
                let exists =
                    directory.join(name).is_dir() || directory.join(format!("{name}.rs")).exists();
                if !exists {
                    wrong.push(format!("{}: no file {name}.rs", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(named > 40, "only {named} names found");
}
