//! Rule R9: no run can access the private set.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::Config;
use boundary::secret_sources;
use reading::FileProblem;

/// Returns the paths that no run may see.
pub fn set(config: &Config) -> Vec<PathBuf> {
    let secrets = config
        .secrets
        .iter()
        .filter_map(|secret| secret_sources::path(&secret.source));
    let own = [
        config.path.clone(),
        config.data.clone(),
        config.key.clone(),
        config.policy.clone(),
        config.rosters.clone(),
        config.socket(),
        config.outputs(),
        config.spool(),
    ];
    own.into_iter()
        .chain(config.database.private_files())
        .chain(secrets)
        .chain(of_certificate(config))
        .collect()
}

/// Returns the private paths of the key of TLS. If the key is a symbolic link, a renewal replaces the link by a link to
/// another file of the same directory, so the directory is private too.
fn of_certificate(config: &Config) -> Vec<PathBuf> {
    let Some(files) = &config.tls else {
        return Vec::new();
    };
    let mut paths = vec![files.key.clone()];
    let others = [config.data.clone(), config.scratch()]
        .into_iter()
        .chain(config.runbooks.iter().cloned());
    let others: Vec<PathBuf> = others.map(|path| real(&path)).collect();
    if let (Some(own), Some(target)) = (files.key.parent(), real(&files.key).parent())
        && real(own) != target
        && !others.iter().any(|other| other.starts_with(target))
    {
        paths.push(target.to_owned());
    }
    paths
}

/// Checks the places of all private files, and the mode of the private directory.
pub fn check(config: &Config) -> Vec<FileProblem> {
    let mut problems = if rustix::process::geteuid().is_root() {
        Vec::new()
    } else {
        linked(config)
    };
    let runbooks: Vec<PathBuf> = config.runbooks.iter().map(|path| real(path)).collect();
    for private in set(config) {
        let at = real(&private);
        if let Some(runbooks) = runbooks.iter().find(|runbooks| at.starts_with(runbooks)) {
            problems.push(FileProblem::whole(
                &private,
                format!(
                    "this path is private, but is in the runbook directory {}: move one of the two",
                    runbooks.display()
                ),
            ));
        }
        if let Some(seen) = SEEN
            .iter()
            .find(|seen| at.starts_with(real(Path::new(seen))))
        {
            problems.push(FileProblem::whole(
                &private,
                format!("this path is private, but is below {seen}, which every step sees: move the path"),
            ));
        }
    }
    let data = real(&config.data);
    for (given, at) in config.runbooks.iter().zip(&runbooks) {
        if at.starts_with(&data) {
            problems.push(FileProblem::whole(
                given,
                format!(
                    "runbooks can't be in the private directory {}: move the runbooks",
                    data.display()
                ),
            ));
        }
    }
    if let Ok(metadata) = std::fs::metadata(&config.data) {
        if !metadata.is_dir() {
            problems.push(FileProblem::whole(
                &config.data,
                "`data` is not a directory: name a directory",
            ));
        } else if metadata.mode() & 0o077 != 0 {
            problems.push(FileProblem::whole(
                &config.data,
                format!(
                    "other users can read the private directory (mode {:04o}): run `chmod 700 {}`",
                    metadata.mode() & 0o7777,
                    config.data.display()
                ),
            ));
        }
    }
    problems
}

/// Returns the private files that have a second hard link. A run with the user id of the service could read such a file
/// at its second path. If the service is root, each run has its own user id, to which the file mode denies access.
fn linked(config: &Config) -> Vec<FileProblem> {
    let directories = [&config.data, &config.rosters].into_iter();
    let beside = directories.filter_map(|directory| std::fs::read_dir(directory).ok());
    let beside = beside.flatten().flatten().map(|entry| entry.path());
    let files: BTreeSet<PathBuf> = set(config)
        .into_iter()
        .chain(beside)
        .map(|path| real(&path))
        .collect();
    let has_links = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.nlink() > 1)
    };
    let problem = |path: PathBuf| {
        let shown = path.display();
        let message = format!(
            "the file has a second name (a hard link), so a run may be able to read it: run `cp -p {shown} new && mv new \
             {shown}`"
        );
        FileProblem::whole(&path, message)
    };
    files.into_iter().filter(has_links).map(problem).collect()
}

/// Resolves symbolic links in the part of the path that exists.
pub fn real(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut at = path;
    loop {
        if let Ok(found) = at.canonicalize() {
            return rest
                .iter()
                .rev()
                .fold(found, |path: PathBuf, name| path.join(name));
        }
        match (at.parent(), at.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_owned());
                at = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// Directories of the host that every run sees, because interpreters need them.
const SEEN: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/ssl",
    "/etc/pki",
    "/etc/alternatives",
    "/etc/crypto-policies",
];

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn found(setup: impl Fn(&Path) -> String) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("runbooks/deep")).expect("made");
        std::fs::create_dir(dir.path().join("boundary")).expect("made");
        let mode = |name: &str, mode| {
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode))
                .expect("set");
        };
        mode("boundary", 0o700);
        mode("runbooks", 0o755);
        let text = format!("name = \"a\"\n{}", setup(dir.path()));
        let config =
            Config::read(&dir.path().join("countersign.toml"), &text).expect("a configuration");
        check(&config)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn r9_the_directory_that_init_creates_passes_the_check_of_private_files() {
        assert_eq!(found(|_| String::new()), "");
    }

    #[test]
    fn r9_the_key_of_tls_and_the_directory_to_which_it_links_are_private() {
        let pair =
            |key: &str| format!("[tls]\ncertificate = \"runbooks/tls.pem\"\nkey = \"{key}\"\n");
        assert!(
            found(|_| pair("runbooks/deep/tls.key"))
                .contains("tls.key: this path is private, but is in the runbook")
        );
        assert!(found(|_| pair("/etc/ssl/private/tls.key")).contains("which every step sees"));
        assert_eq!(found(|_| pair("tls.key")), "", "the certificate is public");
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("b")).expect("made");
        std::fs::create_dir_all(at("archive")).expect("made");
        std::fs::create_dir_all(at("live")).expect("made");
        std::fs::write(at("archive/key1.pem"), "").expect("written");
        std::os::unix::fs::symlink("../archive/key1.pem", at("live/key.pem")).expect("a link");
        let of = |key: &str| {
            let config = Config::read(
                &at("b/countersign.toml"),
                &format!("name = \"a\"\n{}", pair(key)),
            );
            set(&config.expect("a configuration"))
        };
        assert!(of("../live/key.pem").contains(&real(&at("archive"))));
        assert!(!of("../archive/key1.pem").contains(&real(&at("archive"))));
    }

    #[test]
    fn r9_a_symbolic_link_to_a_private_file_is_refused() {
        let text = found(|dir| {
            std::os::unix::fs::symlink(dir.join("runbooks"), dir.join("elsewhere"))
                .expect("a link");
            "key = \"elsewhere/key.pem\"\n".to_owned()
        });
        assert!(text.contains("but is in the runbook directory"), "{text}");
    }

    #[test]
    fn r9_a_hard_link_to_a_private_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("boundary")).expect("made");
        let key = dir.path().join("boundary/key.pem");
        std::fs::write(&key, "the secret").expect("a file");
        let config = Config::read(&dir.path().join("countersign.toml"), "name = \"a\"\n")
            .expect("a configuration");
        assert!(linked(&config).is_empty());
        std::fs::hard_link(&key, dir.path().join("open")).expect("a link");
        let found: Vec<String> = linked(&config).iter().map(ToString::to_string).collect();
        assert!(
            matches!(&found[..], [one] if one.contains("key.pem") && one.contains("second name")),
            "{found:?}"
        );
    }

    #[test]
    fn r9_a_private_directory_open_to_others_is_refused() {
        let text = found(|dir| {
            std::fs::set_permissions(dir.join("boundary"), std::fs::Permissions::from_mode(0o750))
                .expect("set");
            String::new()
        });
        assert!(text.contains("chmod 700"), "{text}");
    }
}
