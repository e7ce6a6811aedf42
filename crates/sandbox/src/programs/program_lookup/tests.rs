//! Tests of lists of programs on a host whose only directory of programs is a temporary directory.

use super::*;
use std::fs;

fn set(names: &[&str]) -> BTreeSet<Program> {
    names
        .iter()
        .map(|name| name.parse().expect("a program"))
        .collect()
}

/// A host whose only directory of programs is a temporary directory.
struct Fake {
    dir: tempfile::TempDir,
    search: String,
    others: bool,
}

impl Fake {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let search = dir
            .path()
            .canonicalize()
            .expect("real")
            .join("bin")
            .display()
            .to_string();
        fs::create_dir(dir.path().join("bin")).expect("a directory");
        Self {
            dir,
            search,
            others: false,
        }
    }

    /// The path of a file, absolute and without links.
    fn path(&self, name: &str) -> String {
        self.dir
            .path()
            .canonicalize()
            .expect("real")
            .join(name)
            .display()
            .to_string()
    }

    fn file(&self, name: &str, content: &str, mode: u32) {
        let path = PathBuf::from(self.path(name));
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
    }

    fn link(&self, target: &str, name: &str) {
        std::os::unix::fs::symlink(target, self.path(name)).expect("a link");
    }

    fn try_list(&self, required: &[&str], optional: &[&str]) -> Result<ProgramList, ListError> {
        let host = Host {
            search: &self.search,
            system: |path| !path.ends_with("outside"),
            changeable: |path| {
                path.metadata()
                    .is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
            },
            others: self.others,
        };
        let (required, optional) = (set(required), set(optional));
        let starters = BTreeMap::from([("gcc", "make"), ("as", "gcc")].map(|(name, by)| {
            (
                name.parse().expect("a program"),
                by.parse().expect("a program"),
            )
        }));
        let is_host_user = false;
        host.list_of(&WantedPrograms {
            required: &required,
            optional: &optional,
            starters: &starters,
            is_host_user,
        })
    }

    /// The entries of a list, with paths relative to the temporary directory.
    fn list(&self, required: &[&str], optional: &[&str]) -> Vec<(String, String)> {
        let list = self
            .try_list(required, optional)
            .expect("a list")
            .programs()
            .to_vec();
        let root = self.path("");
        let short = |text: &str| text.replace(&root, "");
        list.iter()
            .map(|one| (short(one.name.as_str()), short(one.path.as_str())))
            .collect()
    }
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(name, path)| ((*name).to_owned(), (*path).to_owned()))
        .collect()
}

#[test]
fn a_missing_program_is_an_error_only_if_it_is_required() {
    let host = Fake::new();
    host.file("bin/tool", "x", 0o755);
    host.file("bin/data", "x", 0o644);
    host.file("bin/outside", "x", 0o755);
    fs::create_dir(host.path("bin/directory")).expect("a directory");
    host.link("nowhere", "bin/dangling");
    let absolute = host.path("bin/directory");
    let (none, pattern) = (host.path("none"), host.path("*/none"));
    for (name, words) in [
        (
            "none",
            format!("this host has no program none in {}", host.search),
        ),
        (
            "dangling",
            format!("this host has no program dangling in {}", host.search),
        ),
        (
            &none,
            format!("this host has no program {none}: No such file"),
        ),
        (&pattern, format!("this host has no program {pattern}")),
        (
            "directory",
            format!("{absolute} is a directory: name a program"),
        ),
        (
            &absolute,
            format!("{absolute} is a directory: name a program"),
        ),
        (
            "data",
            format!(
                "{} is not an executable file: name a program",
                host.path("bin/data")
            ),
        ),
        (
            "outside",
            "is outside of the system directories, so no run can see it".to_owned(),
        ),
        (
            "./tool",
            "\"./tool\" is neither the name of a program, nor an absolute path".to_owned(),
        ),
    ] {
        let error = host
            .try_list(&[name], &[])
            .expect_err("required")
            .to_string();
        assert!(error.contains(&words), "{name}: {error}");
        assert_eq!(
            host.list(&["tool"], &[name]),
            pairs(&[("tool", "bin/tool")]),
            "{name}"
        );
    }
}

#[test]
fn a_program_that_the_user_of_the_run_can_change_is_an_error_even_if_it_is_optional() {
    let host = Fake::new();
    host.file("bin/tool", "x", 0o755);
    host.file("bin/open", "x", 0o757);
    host.file(
        "bin/script",
        &format!("#!{}\n", host.path("bin/open")),
        0o755,
    );
    let pattern = host.path("bin/o*");
    for (required, optional) in [
        (&["open"][..], &[][..]),
        (&["tool"], &["open"]),
        (&["tool"], &["script"]),
        (&["tool"], &[&pattern]),
    ] {
        let error = host
            .try_list(required, optional)
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("the user of the run can change the program"),
            "{error}"
        );
        assert!(
            error.contains(&host.path("bin/open")) && error.contains("chmod go-w"),
            "{error}"
        );
    }
}

#[test]
fn the_user_of_a_run_can_change_a_file_that_all_users_can_write() {
    let host = Fake::new();
    host.file("bin/open", "x", 0o757);
    host.file("bin/closed", "x", 0o555);
    assert!(changeable_by_run(Path::new(&host.path("bin/open"))));
    assert!(!changeable_by_run(Path::new(&host.path("bin/closed"))));
}

#[test]
fn each_file_that_matches_a_pattern_has_one_entry() {
    let host = Fake::new();
    for file in [
        "lib/gcc/x86/12/cc1",
        "lib/gcc/x86/13/cc1",
        "lib/gcc/arm/12/cc1",
    ] {
        host.file(file, "x", 0o755);
    }
    host.file("lib/gcc/arm/12/cc1plus", "x", 0o755);
    host.file("lib/gcc/.hidden/12/cc1", "x", 0o755);
    host.file("lib/gcc/x86/14/cc1", "data", 0o644);
    host.link("12", "lib/gcc/x86/12.2");
    let pattern = host.path("lib/gcc/*/*/cc1");
    let expected: Vec<(String, String)> = [
        "lib/gcc/arm/12/cc1",
        "lib/gcc/x86/12/cc1",
        "lib/gcc/x86/13/cc1",
    ]
    .map(|path| ("cc1".to_owned(), path.to_owned()))
    .into();
    assert_eq!(host.list(&[], &[&pattern]), expected);
    assert_eq!(host.list(&[&pattern], &[]), expected);
}

#[test]
fn a_pattern_that_matches_too_many_paths_is_an_error() {
    let host = Fake::new();
    for number in 0..=1024 {
        host.link("nowhere", &format!("bin/{number}"));
    }
    let error = host
        .try_list(&[], &[&host.path("bin/*")])
        .expect_err("too many")
        .to_string();
    assert!(error.starts_with("more than 1024 paths match"), "{error}");
}

#[test]
fn names_of_one_multi_call_file_stay_apart() {
    let host = Fake::new();
    host.file("bin/busybox", "x", 0o755);
    host.link("busybox", "bin/ls");
    host.link("busybox", "bin/cat");
    fs::hard_link(host.path("bin/busybox"), host.path("bin/sh")).expect("a link");
    let entries = host.list(&["ls", "sh"], &["cat", &host.path("bin/ls")]);
    let expected = [
        ("cat", "bin/busybox"),
        ("ls", "bin/busybox"),
        ("sh", "bin/sh"),
    ];
    assert_eq!(entries, pairs(&expected));
}

#[test]
fn a_list_contains_the_interpreters_of_scripts_and_the_programs_that_env_starts() {
    let host = Fake::new();
    host.file("bin/sh", "\x7fELF", 0o755);
    host.file("bin/env", "\x7fELF", 0o755);
    for (first_line, expected) in [
        (
            format!("#!{} -e\n", host.path("bin/sh")),
            &[("tool", "bin/sh"), ("tool", "bin/tool")][..],
        ),
        (
            format!("#!{} -S A=b sh -x\n", host.path("bin/env")),
            &[
                ("tool", "bin/env"),
                ("tool", "bin/sh"),
                ("tool", "bin/tool"),
            ],
        ),
    ] {
        host.file("bin/tool", &first_line, 0o755);
        assert_eq!(host.list(&["tool"], &[]), pairs(expected), "{first_line}");
        assert_eq!(
            host.list(&[&host.path("bin/tool")], &[]),
            pairs(expected),
            "{first_line}"
        );
        let named = host.list(&["tool"], &["sh"]);
        assert!(
            named.contains(&("sh".to_owned(), "bin/sh".to_owned()))
                && named.len() == expected.len(),
            "{named:?}"
        );
    }
    host.file("bin/tool", "#!/no/such/interpreter\n", 0o755);
    let error = host
        .try_list(&["tool"], &[])
        .expect_err("required")
        .to_string();
    assert!(
        error.contains("needs the program /no/such/interpreter, which this host does not have"),
        "{error}"
    );
    assert_eq!(
        host.list(&["sh"], &["tool"]),
        pairs(&[("sh", "bin/sh")]),
        "an optional script without its interpreter"
    );
}

#[test]
fn an_interpreter_that_is_no_program_is_refused_with_its_name() {
    let host = Fake::new();
    host.file("bin/env", "\x7fELF", 0o755);
    for content in ["", "no program\n"] {
        host.file("bin/odd", content, 0o755);
        for first_line in [
            host.path("bin/odd"),
            format!("{} odd", host.path("bin/env")),
        ] {
            host.file("bin/tool", &format!("#!{first_line}\n"), 0o755);
            let error = host
                .try_list(&["tool"], &[])
                .expect_err("required")
                .to_string();
            let words = format!(
                "bin/tool needs the program {}, which is neither",
                host.path("bin/odd")
            );
            assert!(error.contains(&words), "{error}");
            assert_eq!(
                host.list(&["env"], &["tool"]),
                pairs(&[("env", "bin/env")]),
                "an optional script"
            );
        }
        // A shell reads such a file as a script.
        assert_eq!(host.list(&["odd"], &[]), pairs(&[("odd", "bin/odd")]));
    }
}

#[test]
fn the_user_of_a_run_must_be_able_to_execute_a_program() {
    let mut host = Fake::new();
    host.file("bin/env", "\x7fELF", 0o755);
    host.file("bin/mine", "x", 0o700);
    host.file("bin/group", "x", 0o754);
    host.file(
        "bin/hidden",
        &format!("#!{}\n", host.path("bin/env")),
        0o711,
    );
    host.file("bin/code", "\x7fELF", 0o711);
    for name in ["mine", "group", "hidden", "code"] {
        assert!(
            host.try_list(&[name], &[]).is_ok(),
            "{name}: the user of the run owns the file"
        );
    }
    host.others = true;
    let open = |directory: &str, mode| {
        fs::set_permissions(host.path(directory), fs::Permissions::from_mode(mode)).expect("mode");
    };
    open("", 0o755);
    open("bin", 0o750);
    let error = host
        .try_list(&["code"], &[])
        .expect_err("a closed directory")
        .to_string();
    let (path, directory) = (host.path("bin/code"), host.path("bin"));
    assert!(
        error.ends_with(&format!(
            "{path} can't be reached by the user of the run: chmod o+x {directory}"
        )),
        "{error}"
    );
    let none = host.try_list(&[], &["code"]);
    assert!(none.is_err(), "a list without a program: {none:?}");
    open("bin", 0o755);
    for (name, what, mode) in [
        ("mine", "executed", "o+x"),
        ("group", "executed", "o+x"),
        ("hidden", "read", "o+r"),
    ] {
        let error = host
            .try_list(&[name], &[])
            .expect_err("required")
            .to_string();
        let path = host.path(&format!("bin/{name}"));
        assert!(
            error.ends_with(&format!(
                "{path} can't be {what} by the user of the run: chmod {mode} {path}"
            )),
            "{error}"
        );
        assert_eq!(
            host.list(&["env"], &[name]),
            pairs(&[("env", "bin/env")]),
            "{name}"
        );
    }
    assert_eq!(host.list(&["code"], &[]), pairs(&[("code", "bin/code")]));
}

#[test]
fn a_list_is_a_valid_part_of_a_document() {
    let host = Fake::new();
    for name in ["a", "a-b", "a b", "a!", "b"] {
        host.file(&format!("bin/{name}"), "x", 0o755);
    }
    let list = host
        .try_list(&["b", "a", "a-b", "{work}/**"], &["a b", "a!"])
        .expect("a list");
    assert_eq!(list.programs().len(), 6);
    documents::check_sorted("", list.programs()).expect("sorted");
    assert_eq!(
        list.programs().last().expect("own").path.as_str(),
        OWN_PROGRAMS
    );
}

#[test]
fn a_list_that_no_document_can_contain_is_refused_with_the_names_to_leave_out() {
    let host = Fake::new();
    let long = "x".repeat(100);
    for number in 0..2400 {
        host.link("tool", &format!("bin/{long}{number}"));
    }
    host.file("bin/tool", "x", 0o755);
    let optional: Vec<String> = (0..2400).map(|number| format!("{long}{number}")).collect();
    let optional: Vec<&str> = optional.iter().map(String::as_str).collect();
    let error = host
        .try_list(&["tool"], &optional)
        .expect_err("too large")
        .to_string();
    assert!(
        error.starts_with("the list has 2401 programs in ")
            && error.contains(" bytes, and at most"),
        "{error}"
    );
    assert!(
        error.contains("262144 bytes") && error.contains("these add most entries: tool 1, x"),
        "{error}"
    );
    for number in 0..4097 {
        host.link("tool", &format!("bin/{number}"));
    }
    let many: Vec<String> = (0..4097).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let error = host.try_list(&many, &[]).expect_err("too many").to_string();
    assert!(
        error.starts_with("the list has 4097 programs in "),
        "{error}"
    );
    // The entries of a closure and of its closures count for the name in the step, and so do interpreters.
    for name in ["as", "gcc", "make"] {
        host.file(&format!("bin/{name}"), "x", 0o755);
    }
    host.file("bin/other", "\x7fELF", 0o755);
    host.file(
        "bin/script",
        &format!("#!{}\n", host.path("bin/other")),
        0o755,
    );
    let error = host
        .try_list(&[&many[..], &["make", "script"]].concat(), &["as", "gcc"])
        .expect_err("too many");
    let error = error.advised("split").to_string();
    assert!(
        error.ends_with("these add most entries: make 3, script 2, 0 1, 1 1, 10 1: split"),
        "{error}"
    );
}
