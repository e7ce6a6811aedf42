//! Checks whether the author of a commit under review could control a file.
//!
//! The author of a commit can write every file of the checkout. With a trusted roster from the checkout, the author
//! could approve the commit alone. The check follows symbolic links and covers each directory that a lookup of the path
//! uses, because a user who can write one of these directories can redirect the path to another file.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

/// Directories that may contain changes from other people.
pub struct CheckoutDirectories {
    current: PathBuf,
    workspaces: Vec<(&'static str, PathBuf)>,
}

/// Environment variables of CI runners that contain the checkout directory.
const WORKSPACES: [&str; 10] = [
    "GITHUB_WORKSPACE",
    "CI_PROJECT_DIR",
    "WORKSPACE",
    "BITBUCKET_CLONE_DIR",
    "BUILD_SOURCESDIRECTORY",
    "BUILDKITE_BUILD_CHECKOUT_PATH",
    "DRONE_WORKSPACE",
    "CIRCLE_WORKING_DIRECTORY",
    "CODEBUILD_SRC_DIR",
    "TRAVIS_BUILD_DIR",
];

/// Directory entries that exist only in the top directory of a work tree.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Maximum number of symbolic links that are followed in one path, as on Linux (`path_resolution(7)`).
const MOST_LINKS: usize = 40;

impl CheckoutDirectories {
    /// Returns the checkouts of this process: the current directory and the directories that a CI runner names.
    ///
    /// # Errors
    /// Returns an error if the process has no current directory.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self::of(&std::env::current_dir()?, |name| {
            std::env::var_os(name)
        }))
    }

    /// Returns the checkouts for this current directory and this environment.
    pub fn of(current: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // CircleCI sets its variable to `~/project` by default, with a literal `~`.
        let home = variable("HOME").map(PathBuf::from);
        let whole = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => path,
        };
        let workspaces = WORKSPACES.iter().filter_map(|name| {
            let path = whole(PathBuf::from(variable(name)?));
            (path.is_absolute() && path != Path::new("/")).then(|| (*name, real(&path)))
        });
        Self {
            current: real(current),
            workspaces: workspaces.collect(),
        }
    }

    /// Returns the reason why a checkout controls the file, or `None` if no checkout controls the file.
    ///
    /// # Errors
    /// Returns an error if the path cannot be resolved, for example because the file does not exist.
    pub fn holding(&self, path: &Path) -> io::Result<Option<String>> {
        for place in self.lookups(path)? {
            if let Some(why) = self.why(&place) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    fn why(&self, place: &Path) -> Option<String> {
        if let Some((name, _)) = self
            .workspaces
            .iter()
            .find(|(_, workspace)| place.starts_with(workspace))
        {
            return Some(format!("the file is in the checkout that ${name} names"));
        }
        // The directory `/` is no checkout. In a container it may be the current directory, and every file is below
        // `/`.
        if self.current != Path::new("/") && place.starts_with(&self.current) {
            return Some(
                "the file is in the current directory (if you trust this directory, change to another directory \
                 first)"
                    .to_owned(),
            );
        }
        let mark = |top: &&Path| {
            MARKS
                .iter()
                .any(|mark| top.join(mark).symlink_metadata().is_ok())
        };
        place
            .ancestors()
            .find(mark)
            .map(|top| format!("the file is in the work tree {}", top.display()))
    }

    /// Returns the real directories that a lookup of the path uses, and last the file.
    fn lookups(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut rest: VecDeque<OsString> = parts(&self.current.join(path));
        let mut at = PathBuf::from("/");
        let mut found = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            found.push(at.clone());
            let next = at.join(&part);
            if !next.symlink_metadata()?.file_type().is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            let target = next.read_link()?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
        }
        found.push(at);
        Ok(found)
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        std::fs::write(path, b"{}").expect("written");
    }

    #[test]
    fn a_checkout_is_detected_in_every_directory_of_the_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        let at = |name: &str| top.join(name);
        for file in [
            "checkout/.git/HEAD",
            "checkout/roster.json",
            "checkout/a/b/roster.json",
            "safe/roster.json",
        ] {
            write(&at(file));
        }
        write(&at("elsewhere/x"));
        symlink(at("safe/roster.json"), at("checkout/link.json")).expect("link");
        symlink(at("checkout"), at("safe/way")).expect("link");
        symlink("../checkout/link.json", at("safe/through.json")).expect("link");
        symlink(at("safe/loop"), at("safe/loop")).expect("link");
        let outside = CheckoutDirectories::of(&at("elsewhere"), |_| None);
        let held = |file: &str| outside.holding(&at(file)).expect(file).is_some();
        assert!(!held("safe/roster.json"));
        assert!(!held("elsewhere/../safe/roster.json") || at("elsewhere").starts_with(&top));
        for file in [
            "checkout/roster.json",
            "checkout/a/b/roster.json",
            "checkout/link.json",
            "safe/way/roster.json",
            "safe/way/link.json",
            "safe/through.json",
            "checkout/../checkout/roster.json",
        ] {
            assert!(held(file), "{file}");
        }
        assert!(
            outside.holding(&at("safe/loop")).is_err()
                && outside.holding(&at("safe/none")).is_err()
        );
    }

    #[test]
    fn files_in_the_current_directory_or_the_ci_workspace_count_as_files_of_a_checkout() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        write(&top.join("work/sub/roster.json"));
        write(&top.join("trust/roster.json"));
        let here = CheckoutDirectories::of(&top.join("work"), |_| None);
        assert!(
            here.holding(Path::new("sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            here.holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            here.holding(Path::new("../trust/roster.json"))
                .expect("there")
                .is_none()
        );
        for name in WORKSPACES {
            let runner = CheckoutDirectories::of(&top.join("trust"), |asked| {
                (asked == name).then(|| top.join("work").into())
            });
            assert!(
                runner
                    .holding(&top.join("work/sub/roster.json"))
                    .expect("there")
                    .is_some(),
                "{name}"
            );
        }
        let circle = |home: Option<&Path>| {
            CheckoutDirectories::of(&top.join("trust"), |asked| match asked {
                "CIRCLE_WORKING_DIRECTORY" => Some("~/work".into()),
                "HOME" => home.map(Into::into),
                _ => None,
            })
        };
        assert!(
            circle(Some(&top))
                .holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_some()
        );
        assert!(
            circle(None)
                .holding(&top.join("work/sub/roster.json"))
                .expect("there")
                .is_none()
        );
        let root = CheckoutDirectories::of(Path::new("/"), |_| Some("/".into()));
        assert!(
            root.holding(&top.join("trust/roster.json"))
                .expect("there")
                .is_none()
        );
    }
}
