//! Reads security-relevant files, which other users must not be able to write, or not even to read.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

use crate::InFile as _;
use reading::FileProblem;
use verdict::directory_of;

/// Reads a security-relevant text file. It must be a regular file of this user or of root that no other user can write.
/// The directory of the file must meet the same rule.
///
/// # Errors
/// Returns an error that names the broken rule and the command that corrects the file.
pub fn read_owned(path: &Path) -> Result<String, FileProblem> {
    let bytes = read(
        path,
        "create the file with `countersign init`, or name another file",
        check_file,
    )?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| FileProblem::whole(path, "the file is not UTF-8: save the file as UTF-8"))
}

/// Reads a file with certificates. The rules of [`read_owned`] apply.
///
/// # Errors
/// Returns an error that names the broken rule and the command that corrects the file.
pub fn read_certificates(path: &Path) -> Result<Vec<u8>, FileProblem> {
    Ok(read(path, CORRECT_PATH, check_file)?.to_vec())
}

/// Reads a file with a private key. The rules of [`read_owned`] apply, and no other user may be able to read the file.
/// The path may be a symbolic link, because programs that renew certificates replace links. systemd protects its
/// credentials by an ACL, which looks like read access for the group, so `is_credential` leaves out the check.
///
/// # Errors
/// Returns an error that names the broken rule and the command that corrects the file.
pub fn read_private(path: &Path, is_credential: bool) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    let mut mode = 0;
    let bytes = read(path, CORRECT_PATH, |path, metadata| {
        mode = metadata.mode() & 0o7777;
        if is_credential {
            Ok(())
        } else {
            check_file(path, metadata)
        }
    })?;
    let contains = |words: &[u8]| bytes.windows(words.len()).any(|part| part == words);
    if contains(b"BEGIN CERTIFICATE") && !contains(b"PRIVATE KEY") {
        let message = "the file contains a certificate and no key: name the file of the private key, which may be the \
                       file under `certificate`";
        return Err(message).at(path);
    }
    if is_credential || mode & 0o077 == 0 {
        return Ok(bytes);
    }
    let shown = path.display();
    Err(FileProblem::whole(
        path,
        format!("other users can read the key (mode {mode:04o}): run `chmod 600 {shown}`"),
    ))
}

const CORRECT_PATH: &str = "name the file in [tls], and let the user of the service read it";

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), FileProblem> {
    check_owned(path, metadata, 0o100_000)?;
    let directory = directory_of(path);
    let metadata = std::fs::metadata(directory).map_err(|error| {
        FileProblem::whole(directory, format!("the directory can't be read ({error})"))
    })?;
    check_owned(directory, &metadata, 0o040_000)
}

/// Reads a regular file. The check gets the metadata of the open file, so that no process can replace the file after
/// the check.
fn read(
    path: &Path,
    advice: &str,
    mut check: impl FnMut(&Path, &Metadata) -> Result<(), FileProblem>,
) -> Result<Zeroizing<Vec<u8>>, FileProblem> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let unreadable = |error: io::Error| {
        FileProblem::whole(path, format!("the file can't be read ({error}): {advice}"))
    };
    let mut file = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| unreadable(error.into()))?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err("the path is not a regular file: name a file").at(path);
    }
    check(path, &metadata)?;
    // The buffer never grows, because a growing buffer would leave copies of a key in memory.
    let size = usize::try_from(metadata.len().min(MAX_FILE_BYTES)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 64));
    (&mut file)
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message =
            format!("the file is larger than {MAX_FILE_BYTES} bytes: name the right file");
        return Err(message).at(path);
    }
    Ok(bytes)
}

fn check_owned(path: &Path, metadata: &Metadata, kind: u32) -> Result<(), FileProblem> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != own && metadata.uid() != 0 {
        return Err(format!(
            "the path belongs to user {}, who could change the content: {}",
            metadata.uid(),
            advice_for_other_owner(path, metadata.uid())
        ))
        .at(path);
    }
    // In a sticky directory such as /tmp, other users can add files but cannot replace this file.
    let sticky = kind == 0o040_000 && metadata.mode() & 0o1000 != 0;
    if metadata.mode() & 0o022 != 0 && !sticky {
        return Err(format!(
            "other users can write this path (mode {:04o}): run `chmod go-w {}`",
            metadata.mode() & 0o7777,
            path.display()
        ))
        .at(path);
    }
    Ok(())
}

/// Returns the advice for a file that belongs to another user than the user of this process. If root ran `chown`, the
/// service of an ordinary user could not read the file any more.
pub fn advice_for_other_owner(path: &Path, owner: u32) -> String {
    let (own, path) = (rustix::process::geteuid().as_raw(), path.display());
    if own == 0 {
        format!(
            "run the command as this user (`sudo -u '#{owner}' countersign ...`), or, if the service runs as root, run \
             `chown 0 {path}`"
        )
    } else {
        format!("run `chown {own} {path}`")
    }
}

/// Maximum size of an operator's file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        std::fs::write(&path, "x").expect("written");
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set")
        };
        mode(&path, 0o644);
        assert_eq!(read_owned(&path).as_deref(), Ok("x"));
        mode(&path, 0o664);
        assert!(read_owned(&path).is_err_and(|problem| problem.message.contains("chmod go-w")));
        mode(&path, 0o600);
        mode(dir.path(), 0o777);
        assert!(read_owned(&path).is_err_and(|problem| problem.message.contains("0777")));
        mode(dir.path(), 0o1777);
        assert_eq!(
            read_owned(&path).as_deref(),
            Ok("x"),
            "in a sticky directory nobody else can replace it"
        );
    }

    #[test]
    fn a_pipe_or_a_directory_is_refused_without_blocking() {
        let dir = tempfile::tempdir().expect("a directory");
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            Mode::from_bits_truncate(0o600),
            0,
        )
        .expect("a fifo");
        assert!(read_owned(&fifo).is_err());
        assert!(read_owned(dir.path()).is_err());
        assert!(read_owned(&dir.path().join("none")).is_err());
    }
}
