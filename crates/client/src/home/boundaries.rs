//! Reads and writes the list of this person's boundaries: the file `boundaries.toml` in the configuration directory.
//!
//! The file contains addresses, and paths of files with secrets, but no secret. Its mode is 0600, because the file says
//! to which address a token is sent, and which roster is trusted there.

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use crate::{
    ChosenTrust, CommandFailure, CommandResult, Home, PrintableText, TrustArgs, check_own,
    fail_refused, fail_usage, read_bounded, replace_file,
};
use documents::{SealDigest, joined};
use wire::ProxyAddress;

/// A boundary of the list.
#[skip_serializing_none]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedBoundary {
    /// Name that this person chose. The name is unique in the list.
    pub name: String,
    /// Address of the boundary.
    pub url: String,
    /// Id of the boundary, as it was when the boundary was added. A boundary with another id is refused.
    pub id: Option<SealDigest>,
    /// The trusted roster: a file, or the digest of its payload. Without it, the configuration directory decides.
    pub roster: Option<String>,
    /// File with the certificate authorities to trust.
    pub ca: Option<PathBuf>,
    /// File with the client certificate.
    pub certificate: Option<PathBuf>,
    /// File with the private key of the client certificate.
    pub key: Option<PathBuf>,
    /// File with a token.
    pub token_file: Option<PathBuf>,
    /// Proxy for an `https://` address.
    pub proxy: Option<ProxyAddress>,
}

/// The list of boundaries, with the path of its file.
#[derive(Debug)]
pub struct BoundaryList {
    path: PathBuf,
    /// The boundaries, in the order of the file.
    pub boundaries: Vec<ListedBoundary>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundariesFile {
    #[serde(default)]
    boundary: Vec<ListedBoundary>,
}

/// Word that means all boundaries of the list, so that no boundary can have this name.
pub const ALL: &str = "all";
/// Maximum size of the file in bytes.
const MAX_FILE_BYTES: usize = 1 << 20;
/// Maximum number of boundaries. Each boundary costs one request for each view of an inbox.
const MOST: usize = 100;
/// Maximum length of a name.
const LONGEST_NAME: usize = 63;

impl ListedBoundary {
    /// Checks that a boundary has the id that the list states.
    ///
    /// # Errors
    /// Returns an error if the boundary has another id.
    pub fn check_id(&self, found: SealDigest) -> CommandResult<()> {
        match self.id {
            Some(id) if id != found => fail_refused(format!(
                "the boundary at {} has the id {found}, but your list states the id {id} for {}: nothing was done. Ask \
                     the operator why the boundary was made again; if the reason is right, run `countersign boundary \
                     remove {}` and add the boundary again",
                PrintableText::text(&self.url),
                self.name,
                self.name
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the rosters that `trust` names. If no option, variable or chosen boundary names a roster, the result also
/// has the rosters of all boundaries of the list.
///
/// # Errors
/// Returns the errors of [`TrustArgs::find`], or an error if the list can't be read.
pub fn find_with_list(trust: &TrustArgs) -> CommandResult<Vec<ChosenTrust>> {
    let mut found = trust.find()?;
    let is_unset = std::env::var_os("COUNTERSIGN_TRUST").is_none_or(|value| value.is_empty());
    if trust.roster.is_empty() && trust.listed.is_none() && is_unset {
        for listed in BoundaryList::of_process()?
            .boundaries
            .into_iter()
            .filter_map(|one| one.roster)
        {
            found.extend(
                TrustArgs {
                    roster: Vec::new(),
                    listed: Some(listed),
                }
                .find()?,
            );
        }
    }
    Ok(found)
}

impl BoundaryList {
    /// Reads the list of the user of this process. Without the file, the list is empty.
    ///
    /// # Errors
    /// Returns an error if the file can't be read or understood, or if other users can read or write it.
    pub fn of_process() -> CommandResult<Self> {
        Self::read(&Home::of_process())
    }

    /// Reads the list in this configuration directory.
    ///
    /// # Errors
    /// Returns the errors of [`Self::of_process`].
    pub fn read(home: &Home) -> CommandResult<Self> {
        let config = home.config.as_ref().ok_or_else(|| {
            CommandFailure::usage(
                "the home directory of this user is unknown: set HOME to its absolute path",
            )
        })?;
        let path = config.join("boundaries.toml");
        if path.symlink_metadata().is_err() {
            return Ok(Self {
                path,
                boundaries: Vec::new(),
            });
        }
        let shown = PrintableText::file(&path).to_string();
        check_own(&path)?;
        let mode = path.metadata().map_or(0, |about| about.mode() & 0o7777);
        if mode & 0o077 != 0 {
            return Err(CommandFailure::no_trust(format!(
                "{shown} has mode {mode:04o}, so other users can read where your tokens are: run `chmod 600 {shown}`"
            )));
        }
        let text = String::from_utf8(read_bounded(&path, MAX_FILE_BYTES)?).map_err(|_| {
            CommandFailure::usage(format!("{shown} is not UTF-8: correct the file"))
        })?;
        let wrong = |why: &str| {
            let why = PrintableText::text(why).to_string();
            CommandFailure::usage(format!(
                "{shown} is no list of boundaries: {why}; correct the file, or remove it"
            ))
        };
        let file: BoundariesFile = toml::from_str(&text).map_err(|error| wrong(error.message()))?;
        let list = Self {
            path,
            boundaries: file.boundary,
        };
        list.check().map_err(|why| wrong(&why))?;
        Ok(list)
    }

    fn check(&self) -> Result<(), String> {
        if self.boundaries.len() > MOST {
            return Err(format!("it has more than {MOST} boundaries"));
        }
        let mut names = BTreeSet::new();
        for one in &self.boundaries {
            check_name(&one.name).map_err(|failure| failure.message)?;
            if !names.insert(one.name.as_str()) {
                return Err(format!("two boundaries have the name {}", one.name));
            }
            let files = [&one.ca, &one.certificate, &one.key, &one.token_file];
            let roster = one
                .roster
                .as_deref()
                .filter(|roster| !roster.starts_with("sha256:"))
                .map(Path::new);
            if let Some(path) = files
                .into_iter()
                .flatten()
                .map(PathBuf::as_path)
                .chain(roster)
                .find(|p| !p.is_absolute())
            {
                return Err(format!(
                    "the path {} of {} is not absolute",
                    path.display(),
                    one.name
                ));
            }
        }
        Ok(())
    }

    /// Returns the boundary with this name.
    ///
    /// # Errors
    /// Returns an error if the list has no such boundary.
    pub fn find(&self, name: &str) -> CommandResult<&ListedBoundary> {
        self.boundaries.iter().find(|one| one.name == name).ok_or_else(|| {
            let names = joined(self.boundaries.iter().map(|one| one.name.as_str()), ", ");
            let known = if names.is_empty() {
                "your list is empty".to_owned()
            } else {
                format!("your list has {names}")
            };
            CommandFailure::usage(format!("no boundary has the name {}: {known}; add a boundary with `countersign boundary add NAME --url URL`", PrintableText::text(name)))
        })
    }

    /// Adds a boundary and writes the file.
    ///
    /// # Errors
    /// Returns an error if the name or the boundary is in the list, or if the file can't be written.
    pub fn add(&mut self, one: ListedBoundary) -> CommandResult<()> {
        check_name(&one.name)?;
        if let Some(same) = self.boundaries.iter().find(|other| other.name == one.name) {
            return fail_usage(format!(
                "the name {} is taken: it is the boundary at {}; choose another name, or remove this boundary with \
                 `countersign boundary remove {}`",
                same.name,
                PrintableText::text(&same.url),
                same.name
            ));
        }
        self.boundaries.push(one);
        self.check().map_err(CommandFailure::usage)?;
        self.write()
    }

    /// Removes the boundary with this name and writes the file.
    ///
    /// # Errors
    /// Returns an error if the list has no such boundary, or if the file can't be written.
    pub fn remove(&mut self, name: &str) -> CommandResult<()> {
        self.find(name)?;
        self.boundaries.retain(|one| one.name != name);
        self.write()
    }

    fn write(&self) -> CommandResult<()> {
        let failed = CommandFailure::unable("write", &self.path);
        let boundary = self.boundaries.clone();
        let text = toml::to_string(&BoundariesFile { boundary })
            .map_err(|error| failed(io::Error::other(error)))?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.path.parent().unwrap_or(Path::new(".")))
            .and_then(|()| replace_file(&self.path, text.as_bytes()))
            .map_err(failed)
    }
}

/// Checks the name of a boundary in the list.
fn check_name(name: &str) -> CommandResult<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(plain) || name == ALL {
        return fail_usage(format!(
            "{} is no name for a boundary: a name has 1 to {LONGEST_NAME} lower-case letters, digits, `.`, `_` and `-`, \
             and `{ALL}` means every boundary",
            PrintableText::quoted(name)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn one(name: &str) -> ListedBoundary {
        ListedBoundary {
            name: name.to_owned(),
            url: "https://boundary.example".to_owned(),
            id: Some(SealDigest::from_bytes([7; 32])),
            roster: Some(format!("sha256:{}", "a".repeat(64))),
            ca: Some("/etc/ca.pem".into()),
            certificate: None,
            key: None,
            token_file: None,
            proxy: None,
        }
    }

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().expect("a directory");
        let home = Home::of(Some(directory.path().into()), None);
        (directory, home)
    }

    #[test]
    fn the_list_is_kept_in_a_file_that_only_this_user_can_read() {
        let (_directory, home) = home();
        let mut list = BoundaryList::read(&home).expect("an empty list");
        assert!(list.boundaries.is_empty());
        list.add(one("prod")).expect("added");
        list.add(one("test")).expect("added");
        assert!(
            list.add(one("prod"))
                .expect_err("the name is taken")
                .message
                .contains("is taken")
        );
        let again = BoundaryList::read(&home).expect("a list");
        assert_eq!(again.boundaries, [one("prod"), one("test")]);
        let path = home
            .config
            .clone()
            .expect("a directory")
            .join("boundaries.toml");
        assert_eq!(path.metadata().expect("a file").mode() & 0o7777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("mode");
        assert!(
            BoundaryList::read(&home)
                .expect_err("others can read it")
                .message
                .contains("chmod 600")
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
        list.remove("prod").expect("removed");
        assert!(
            list.remove("prod")
                .expect_err("it is gone")
                .message
                .contains("your list has test")
        );
        assert_eq!(
            BoundaryList::read(&home).expect("a list").boundaries,
            [one("test")]
        );
    }

    #[test]
    fn a_list_with_a_defect_is_refused() {
        let (_directory, home) = home();
        let config = home.config.clone().expect("a directory");
        std::fs::create_dir_all(&config).expect("a directory");
        let path = config.join("boundaries.toml");
        for (text, why) in [
            (
                "[[boundary]]\nname = \"a\"\nurl = \"http://h\"\n[[boundary]]\nname = \"a\"\nurl = \"http://i\"\n",
                "two boundaries have the name a",
            ),
            (
                "[[boundary]]\nname = \"all\"\nurl = \"http://h\"\n",
                "is no name for a boundary",
            ),
            (
                "[[boundary]]\nname = \"A\\u001b\"\nurl = \"http://h\"\n",
                "is no name for a boundary",
            ),
            (
                "[[boundary]]\nname = \"a\"\nurl = \"http://h\"\ntoken = \"cst_x\"\n",
                "unknown field",
            ),
            (
                "[[boundary]]\nname = \"a\"\nurl = \"http://h\"\ntoken_file = \"token\"\n",
                "is not absolute",
            ),
            (
                "[[boundary]]\nname = \"a\"\nurl = \"http://h\"\nroster = \"roster.json\"\n",
                "is not absolute",
            ),
            ("[[boundary]]\nname = \"a\"\n", "missing field"),
            ("boundary = 1", "invalid type"),
        ] {
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
            let failure = BoundaryList::read(&home).expect_err(text);
            assert!(
                failure.message.contains(why) && !failure.message.contains('\x1b'),
                "{text}: {failure}"
            );
        }
    }
}
