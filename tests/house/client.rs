//! Checks the client, the program with the feature `client` only: what it compiles, and on which systems it builds.
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::rust_source::{Token, closing, rust_files, text, tokens};

/// Files of which a part depends on a feature. In all other files, no check can differ between the client and the whole
/// program. These files select modules, commands and messages.
const WITH_FEATURES: &[&str] = &[
    "src/cli/client_build.rs",
    "src/cli/log.rs",
    "src/cli/log_source_options.rs",
    "src/cli/mod.rs",
    "src/cli/registry/mod.rs",
    "src/cli/roster/mod.rs",
    "src/cli/version.rs",
    "src/lib.rs",
    "src/main.rs",
    "src/tls/mod.rs",
];

/// Names of things that only Linux has. A path below `/proc` is the token of a string, so it is searched in the text.
const ONLY_LINUX: &[&str] =
    &["prctl", "memfd", "memfd_create", "SO_PEERCRED", "peer_cred", "socket_peercred", "syncfs"];

/// Crates that do not build on macOS, or that a client does not need.
const NOT_ON_MAC: &[&str] = &["landlock", "linux-raw-sys", "libmimalloc-sys", "rusqlite", "libsqlite3-sys", "axum"];

/// A source file of the crate: path, text, tokens.
struct SourceFile {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

/// Returns the files that the client compiles.
fn client_files() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<SourceFile> = rust_files(&root.join("src"))
        .into_iter()
        .map(|(path, text)| SourceFile {
            path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
            tokens: tokens(&text),
            text,
        })
        .collect();
    let absent: Vec<String> = files.iter().flat_map(|file| gated_modules(&file.path, &file.tokens)).collect();
    files
        .into_iter()
        .filter(|file| !absent.iter().any(|module| is_below(&file.path, module)))
        .filter(|file| !file.path.ends_with("/tests.rs") && !file.path.contains("/tests/"))
        .collect()
}

/// Returns the modules that a file declares for the feature `boundary` only, each as a path without an ending.
fn gated_modules(path: &str, tokens: &[Token]) -> Vec<String> {
    let directory = match path.rsplit_once('/') {
        Some((directory, "mod.rs" | "lib.rs" | "main.rs")) => directory.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    let mut found = Vec::new();
    for end in feature_attributes(tokens) {
        let mut at = end + 1;
        if text(tokens, at) == "pub" {
            at = if text(tokens, at + 1) == "(" { closing(tokens, at + 1) + 1 } else { at + 1 };
        }
        if text(tokens, at) == "mod" && text(tokens, at + 2) == ";" {
            found.push(format!("{directory}/{}", text(tokens, at + 1)));
        }
    }
    found
}

/// Returns the last token of each attribute `cfg(feature = …)`. Literals have no text here, so another test checks that
/// no attribute names the feature `client`.
fn feature_attributes(tokens: &[Token]) -> Vec<usize> {
    (0..tokens.len())
        .filter(|at| (0..6).map(|next| text(tokens, at + next)).eq(["#", "[", "cfg", "(", "feature", "="]))
        .map(|at| closing(tokens, at + 1))
        .collect()
}

fn is_below(path: &str, module: &str) -> bool {
    path == format!("{module}.rs") || path.starts_with(&format!("{module}/"))
}

/// Returns the ranges of tokens that only Linux compiles: items, blocks and statements below
/// `#[cfg(target_os = "linux")]`.
fn linux_ranges(file: &SourceFile) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    (0..file.tokens.len())
        .filter(|at| {
            (0..6).map(|next| text(&file.tokens, at + next)).eq(["#", "[", "cfg", "(", "target_os", "="])
                && lines[file.tokens[*at].line - 1].contains("target_os = \"linux\"")
        })
        .map(|at| {
            let mut end = closing(&file.tokens, at + 1) + 1;
            while end < file.tokens.len() && text(&file.tokens, end) != ";" {
                if text(&file.tokens, end) == "{" {
                    end = closing(&file.tokens, end);
                    break;
                }
                end =
                    if matches!(text(&file.tokens, end), "(" | "[") { closing(&file.tokens, end) + 1 } else { end + 1 };
            }
            (at, end)
        })
        .collect()
}

/// Returns each use of something that only Linux has, outside of `#[cfg(target_os = "linux")]` and of unit tests.
fn only_linux(file: &SourceFile) -> Vec<String> {
    let ranges = linux_ranges(file);
    let on_linux = |at: usize| ranges.iter().any(|(start, end)| (*start..=*end).contains(&at));
    let mut found: Vec<String> = Vec::new();
    for (at, token) in file.tokens.iter().enumerate().filter(|(at, token)| !token.in_test && !on_linux(*at)) {
        let is_path =
            |path: &[&str]| path.iter().enumerate().all(|(next, name)| text(&file.tokens, at + next) == *name);
        if ONLY_LINUX.contains(&token.text.as_str())
            || is_path(&["std", "::", "os", "::", "linux"])
            || is_path(&["landlock", "::"])
            || is_path(&["libc", "::"])
        {
            found.push(format!("{}:{}: `{}` is only on Linux", file.path, token.line, token.text));
        }
    }
    let lines: BTreeSet<usize> =
        ranges.iter().flat_map(|(start, end)| file.tokens[*start].line..=file.tokens[*end].line).collect();
    let tests: BTreeSet<usize> = file.tokens.iter().filter(|token| token.in_test).map(|token| token.line).collect();
    for (number, line) in file.text.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        let code = line.split("//").next().unwrap_or_default();
        // A program opens a path that begins with `/proc/`. A text that mentions the directory ends or goes on in words.
        if code.contains("\"/proc/") && !lines.contains(&number) && !tests.contains(&number) {
            found.push(format!("{}:{number}: a path below /proc is only on Linux", file.path));
        }
    }
    found
}

#[test]
fn the_client_uses_nothing_that_only_linux_has() {
    let files = client_files();
    assert!(files.len() > 150, "only {} files found: the test looks in the wrong place", files.len());
    for absent in ["src/store/", "src/sandbox/", "src/crossing/", "src/node/", "src/cli/serve.rs", "src/local/"] {
        assert!(!files.iter().any(|file| file.path.starts_with(absent)), "{absent}");
    }
    // The kernel of Linux is not asked: each of these lines compares a path that a person or a script wrote.
    let compared = [
        "src/home/trusted_rosters.rs",
        "src/policy/lists.rs",
        "src/record/host_names.rs",
        "src/template/shell_commands.rs",
    ];
    let found: Vec<String> = files
        .iter()
        .flat_map(only_linux)
        .filter(|found| !(found.contains("below /proc") && compared.iter().any(|path| found.starts_with(path))))
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn features_select_whole_modules_and_never_a_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut users = BTreeSet::new();
    for (path, source) in rust_files(&root.join("src")) {
        let tokens = tokens(&source);
        let uses = (0..tokens.len()).any(|at| text(&tokens, at) == "feature" && text(&tokens, at + 1) == "=");
        // The client has no module of its own, and `client` without `boundary` is `not(feature = "boundary")`.
        let named = source.lines().filter(|line| line.contains("feature = \"client\""));
        // `lib.rs` refuses a build without it, and `--version --long` names it.
        let may = path.ends_with("src/lib.rs") || path.ends_with("src/cli/version.rs");
        assert!(named.count() <= usize::from(may), "{}", path.display());
        if uses {
            users.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    assert_eq!(users, WITH_FEATURES.iter().map(|path| (*path).to_owned()).collect());
}

#[test]
fn the_client_of_macos_has_no_crate_that_only_linux_has() {
    let tree = |features: &[&str]| {
        // The build on Linux downloads no crate of macOS, so cargo may have to download some crates here.
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--target", "aarch64-apple-darwin", "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo tree");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let client = tree(&["--no-default-features", "--features", "client"]);
    let names: BTreeSet<&str> = client.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains("rustix") && names.contains("clap"), "{names:?}");
    for name in NOT_ON_MAC {
        assert!(!names.contains(name), "{name}");
    }
    // The whole program has most of these crates, so the test reads the right output.
    assert!(tree(&[]).contains("rusqlite v"));
}

/// Tests of the checker.
mod checker {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile { path: "src/x.rs".to_owned(), tokens: tokens(text), text: text.to_owned() }
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

    #[test]
    fn a_module_below_the_attribute_is_absent_from_the_client() {
        let source = "#[cfg(feature = \"boundary\")]\npub mod a;\npub mod b;\n#[cfg(feature = \"boundary\")]\nmod c;";
        assert_eq!(gated_modules("src/lib.rs", &tokens(source)), ["src/a", "src/c"]);
        assert_eq!(gated_modules("src/cli/roster/mod.rs", &tokens(source)), ["src/cli/roster/a", "src/cli/roster/c"]);
        assert!(is_below("src/a/b.rs", "src/a") && is_below("src/a.rs", "src/a") && !is_below("src/ab.rs", "src/a"));
    }
}
