//! The paths of the host that every run sees.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use crate::{
    AtStage as _, SetupResult, SetupStage,
    isolation::{mounts::new_file, run_hosts},
    with_parents,
};
use documents::{Network, NetworkMode};

/// Directories that programs need, mounted read-only. Symbolic links (`/bin` to `usr/bin`) are created as links.
pub const SYSTEM: [&str; 7] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
];
/// Directories of `/etc` that programs need, for alternatives and certificates.
pub const ETC_DIRECTORIES: [&str; 5] = [
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
];
/// Directory of JDKs. On Debian, the configuration of a JDK is in a directory such as `/etc/java-17-openjdk`.
pub const JDKS: &str = "/usr/lib/jvm";
/// Files of `/etc` that programs need. A run with its own root file system has private files for users, groups and
/// hosts.
pub const ETC_FILES: [&str; 5] = [
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ssl/openssl.cnf",
];
/// Further files of `/etc` that only a run on the host's root file system reads from the host.
pub const ETC_HOST_FILES: [&str; 4] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/hosts",
];
/// The run's user id in its user namespace. This id is neither root nor a user of the host.
pub const INNER_ID: u32 = 1000;
/// The run's host name.
pub const HOST_NAME: &str = "countersign";
/// Maximum size of a copied file of `/etc`, in bytes.
pub const MAX_COPY: u64 = 2 << 20;

/// Returns the paths of the host that every run can see, with any profile.
pub fn always_visible() -> impl Iterator<Item = &'static Path> {
    SYSTEM
        .into_iter()
        .chain(etc_directories())
        .chain(ETC_FILES)
        .chain(ETC_HOST_FILES)
        .map(Path::new)
}

pub fn etc_directories() -> impl Iterator<Item = &'static str> {
    static JAVA: LazyLock<Vec<String>> = LazyLock::new(|| java_directories(Path::new(JDKS)));
    ETC_DIRECTORIES
        .into_iter()
        .chain(JAVA.iter().map(String::as_str))
}

/// Returns the configuration directory of each JDK, for example `/etc/java-17-openjdk` for `java-17-openjdk-amd64`.
pub fn java_directories(jdks: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let version = name.strip_prefix("java-")?.split_once("-openjdk")?.0;
        let plain = !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit());
        plain.then(|| format!("/etc/java-{version}-openjdk"))
    };
    let mut found: Vec<String> = fs::read_dir(jdks)
        .into_iter()
        .flatten()
        .filter_map(name)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The paths of the host that every run sees, read once.
#[derive(Default)]
pub struct Host {
    /// Directories to mount.
    pub directories: Vec<&'static str>,
    /// Links to create.
    links: Vec<(&'static str, PathBuf)>,
    /// Small files to copy.
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Host {
    /// Reads what a run with this network sees.
    pub fn look(home: &str, network: &Network) -> Self {
        let mut host = Self::default();
        for path in SYSTEM.into_iter().chain(etc_directories()).chain(ETC_FILES) {
            let Ok(found) = fs::symlink_metadata(path) else {
                continue;
            };
            if found.is_symlink() {
                host.links
                    .extend(fs::read_link(path).map(|target| (path, target)));
            } else if found.is_dir() && !ETC_FILES.contains(&path) {
                host.directories.push(path);
            } else if found.is_file() && found.len() <= MAX_COPY {
                // A file that this process may not read is left out.
                host.files.extend(fs::read(path).map(|bytes| (path, bytes)));
            }
        }
        let users = format!(
            "root:x:0:0:root:/:/bin/sh\nstep:x:{INNER_ID}:{INNER_ID}::{home}:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
        );
        let groups = format!("root:x:0:\nstep:x:{INNER_ID}:\nnogroup:x:65534:\n");
        let mut names = format!(
            "{}127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {HOST_NAME}\n",
            run_hosts::lines(&network.hosts)
        );
        let mut resolver = "hosts: files".to_owned();
        // A run in the network of the host resolves names as the host does.
        if network.mode == NetworkMode::Host {
            let of_host = |path| fs::read_to_string(path).unwrap_or_default();
            names = format!("{}\n127.0.1.1 {HOST_NAME}\n", of_host("/etc/hosts"));
            let switch = of_host("/etc/nsswitch.conf");
            resolver = switch
                .lines()
                .find(|line| line.starts_with("hosts:"))
                .unwrap_or("hosts: files dns")
                .to_owned();
            host.files
                .push(("/etc/resolv.conf", of_host("/etc/resolv.conf").into_bytes()));
        }
        host.files.extend([
            ("/etc/passwd", users.into_bytes()),
            ("/etc/group", groups.into_bytes()),
            (
                "/etc/nsswitch.conf",
                format!("passwd: files\ngroup: files\n{resolver}\n").into_bytes(),
            ),
            ("/etc/hosts", names.into_bytes()),
        ]);
        host
    }

    /// Creates links and files below the working directory, which is the new root of the run.
    pub fn put(&self) -> SetupResult {
        for (path, target) in &self.links {
            let name = path.trim_start_matches('/');
            with_parents(name, |place| symlink(target, place))
                .at(SetupStage::Mounts, format!("link {name}"))?;
        }
        for (path, bytes) in &self.files {
            let name = path.trim_start_matches('/');
            with_parents(name, |place| new_file(place, bytes, 0o444))
                .at(SetupStage::Mounts, format!("write {name}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_each_jdk_is_found_by_its_name() {
        let home = tempfile::tempdir().expect("a directory");
        for name in [
            "java-17-openjdk-amd64",
            "java-1.17.0-openjdk-amd64",
            "openjdk-17",
            "java-21-openjdk-arm64",
            "java-8-oracle",
            "java--openjdk",
        ] {
            fs::create_dir(home.path().join(name)).expect("a directory");
        }
        assert_eq!(
            java_directories(home.path()),
            ["/etc/java-17-openjdk", "/etc/java-21-openjdk"]
        );
        assert!(java_directories(&home.path().join("none")).is_empty());
    }
}
