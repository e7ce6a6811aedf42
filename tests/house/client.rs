//! Checks the client: what it compiles, and on which systems it builds.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::rust_source::{Token, closing, rust_files, text, tokens};

/// Names of things that only Linux has. A path below `/proc` is the token of a string, so it is searched in the text.
const ONLY_LINUX: &[&str] = &[
    "prctl",
    "memfd",
    "memfd_create",
    "SO_PEERCRED",
    "peer_cred",
    "socket_peercred",
    "syncfs",
];

/// The crates of the client, and of the client with pages.
const CLIENT: [&str; 8] = [
    "documents",
    "wire",
    "reading",
    "verdict",
    "client",
    "client-program",
    "console",
    "console-program",
];

/// A source file of the crate: path, text, tokens.
struct SourceFile {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

/// Returns the files that the client compiles.
fn client_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    CLIENT
        .iter()
        .flat_map(|name| rust_files(&root.join("crates").join(name).join("src")))
        .map(|(path, text)| SourceFile {
            path: path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            tokens: tokens(&text),
            text,
        })
        .filter(|file| !file.path.ends_with("tests.rs") && !file.path.contains("/tests/"))
        .collect()
}

/// Returns the ranges of tokens that only Linux compiles: items, blocks and statements below
/// `#[cfg(target_os = "linux")]`.
fn linux_ranges(file: &SourceFile) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    (0..file.tokens.len())
        .filter(|at| {
            (0..6).map(|next| text(&file.tokens, at + next)).eq([
                "#",
                "[",
                "cfg",
                "(",
                "target_os",
                "=",
            ]) && lines[file.tokens[*at].line - 1].contains("target_os = \"linux\"")
        })
        .map(|at| {
            let mut end = closing(&file.tokens, at + 1) + 1;
            while end < file.tokens.len() && text(&file.tokens, end) != ";" {
                if text(&file.tokens, end) == "{" {
                    end = closing(&file.tokens, end);
                    break;
                }
                end = if matches!(text(&file.tokens, end), "(" | "[") {
                    closing(&file.tokens, end) + 1
                } else {
                    end + 1
                };
            }
            (at, end)
        })
        .collect()
}

/// Returns each use of something that only Linux has, outside of `#[cfg(target_os = "linux")]` and of unit tests.
fn only_linux(file: &SourceFile) -> Vec<String> {
    let ranges = linux_ranges(file);
    let on_linux = |at: usize| {
        ranges
            .iter()
            .any(|(start, end)| (*start..=*end).contains(&at))
    };
    let mut found: Vec<String> = Vec::new();
    for (at, token) in file
        .tokens
        .iter()
        .enumerate()
        .filter(|(at, token)| !token.in_test && !on_linux(*at))
    {
        let is_path = |path: &[&str]| {
            path.iter()
                .enumerate()
                .all(|(next, name)| text(&file.tokens, at + next) == *name)
        };
        if ONLY_LINUX.contains(&token.text.as_str())
            || is_path(&["std", "::", "os", "::", "linux"])
            || is_path(&["landlock", "::"])
            || is_path(&["libc", "::"])
        {
            found.push(format!(
                "{}:{}: `{}` is only on Linux",
                file.path, token.line, token.text
            ));
        }
    }
    let lines: BTreeSet<usize> = ranges
        .iter()
        .flat_map(|(start, end)| file.tokens[*start].line..=file.tokens[*end].line)
        .collect();
    let tests: BTreeSet<usize> = file
        .tokens
        .iter()
        .filter(|token| token.in_test)
        .map(|token| token.line)
        .collect();
    for (number, line) in file
        .text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
    {
        let code = line.split("//").next().unwrap_or_default();
        // A program opens a path that begins with `/proc/`. A text that mentions the directory ends or goes on in words.
        if code.contains("\"/proc/") && !lines.contains(&number) && !tests.contains(&number) {
            found.push(format!(
                "{}:{number}: a path below /proc is only on Linux",
                file.path
            ));
        }
    }
    found
}

#[test]
fn the_client_uses_nothing_that_only_linux_has() {
    let files = client_files();
    assert!(
        files.len() > 150,
        "only {} files found: the test looks in the wrong place",
        files.len()
    );
    // The kernel of Linux is not asked: each of these lines compares a path that a person or a script wrote.
    let compared = [
        "crates/client/src/home/trusted_rosters.rs",
        "crates/reading/src/policy/lists.rs",
        "crates/reading/src/template/shell_commands.rs",
    ];
    let found: Vec<String> = files
        .iter()
        .flat_map(only_linux)
        .filter(|found| {
            !(found.contains("below /proc") && compared.iter().any(|path| found.starts_with(path)))
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Returns the crates that a package of this workspace uses for a target, by their names.
fn used_crates(package: &str, target: &str) -> BTreeSet<String> {
    // The build on Linux downloads no crate of macOS, so cargo may have to download some crates here.
    let output = Command::new(env!("CARGO"))
        .args([
            "tree", "--locked", "--target", target, "--edges", "normal", "--prefix", "none",
            "--format", "{p}",
        ])
        .args(["--package", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo tree");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_clients_have_no_crate_of_the_service_and_verdicts_have_no_runtime() {
    for target in ["aarch64-apple-darwin", "x86_64-unknown-linux-gnu"] {
        let client = used_crates("countersign-client", target);
        assert!(
            client.contains("rustix") && client.contains("clap"),
            "{client:?}"
        );
        for name in [
            "landlock",
            "libmimalloc-sys",
            "rusqlite",
            "libsqlite3-sys",
            "axum",
            "sandbox",
        ] {
            assert!(!client.contains(name), "{name}");
        }
    }
    assert!(!used_crates("countersign-client", "aarch64-apple-darwin").contains("linux-raw-sys"));
    // The client with pages has a server of HTTP, and still no part of a boundary.
    for target in ["aarch64-apple-darwin", "x86_64-unknown-linux-gnu"] {
        let pages = used_crates("countersign-console", target);
        assert!(
            pages.contains("axum") && pages.contains("console") && pages.contains("client"),
            "{pages:?}"
        );
        for name in [
            "landlock",
            "libmimalloc-sys",
            "rusqlite",
            "libsqlite3-sys",
            "sandbox",
            "countersign",
        ] {
            assert!(!pages.contains(name), "{name}");
        }
    }
    let verdict = used_crates("verdict", "x86_64-unknown-linux-gnu");
    assert!(verdict.contains("reading") && verdict.contains("documents"));
    for name in [
        "tokio",
        "rusqlite",
        "tokio-postgres",
        "axum",
        "http",
        "hyper",
        "landlock",
    ] {
        assert!(!verdict.contains(name), "{name}");
    }
    // The whole program has these crates, so the test reads the right output.
    let whole = used_crates("countersign", "x86_64-unknown-linux-gnu");
    assert!(whole.contains("rusqlite") && whole.contains("tokio") && whole.contains("landlock"));
}

#[test]
fn no_source_file_depends_on_a_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (path, source) in ["src", "crates", "tests", "benches"]
        .iter()
        .flat_map(|below| rust_files(&root.join(below)))
    {
        let tokens = tokens(&source);
        let uses = (0..tokens.len()).any(|at| {
            matches!(text(&tokens, at), "cfg" | "cfg_attr") && {
                let end = if text(&tokens, at + 1) == "(" {
                    closing(&tokens, at + 1)
                } else {
                    at
                };
                (at..end).any(|inside| {
                    text(&tokens, inside) == "feature" && text(&tokens, inside + 1) == "="
                })
            }
        });
        assert!(
            !uses,
            "{}: a crate of its own, or a type parameter, selects parts of a program",
            path.display()
        );
    }
}

/// Tests of the checker.
mod checker {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile {
            path: "src/x.rs".to_owned(),
            tokens: tokens(text),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_use_of_linux_is_found_outside_of_its_attribute_only() {
        for source in [
            "fn f() { rustix::process::prctl(); }",
            "fn f() { std::fs::read(\"/proc/self/status\"); }",
            "use std::os::linux::fs::MetadataExt;",
            "fn f() { unsafe { libc::kill(1, 2) } }",
            "#[cfg(target_os = \"linux\")]\nfn f() {}\nfn g() { prctl(); }",
            "#[cfg(target_os = \"macos\")]\nfn f() { prctl(); }",
        ] {
            assert_eq!(only_linux(&file(source)).len(), 1, "{source}");
        }
        for source in [
            "#[cfg(target_os = \"linux\")]\nfn f() { prctl(); }",
            "fn f() {\n#[cfg(target_os = \"linux\")]\nlet x = prctl();\n}",
            "#[cfg(target_os = \"linux\")]\nconst STATUS: &str = \"/proc/self/status\";",
            "// prctl of /proc\nfn f() { say(\"sees in /proc: its own\"); }",
            "#[cfg(test)]\nmod tests {\nfn f() { prctl(\"/proc/self\"); }\n}",
        ] {
            assert_eq!(only_linux(&file(source)), [""; 0], "{source}");
        }
    }
}
