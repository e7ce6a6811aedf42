//! Whether a file is at the mercy of a checkout.
//!
//! What lies in a checkout is written by whoever wrote the commit: a roster found there would let a change approve itself.
//! Not only the file itself counts but every directory in which a name on the way to it is looked up, links followed:
//! whoever may write one of them decides what is found at the end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where changes of others may lie.
#[derive(Debug, Clone, Default)]
pub struct Checkouts {
    current: PathBuf,
    workspaces: Vec<(&'static str, PathBuf)>,
}

/// What the runners of CI services call the directory that they check out into.
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

/// What marks the top of a work tree.
const MARKS: [&str; 4] = [".git", ".hg", ".jj", ".svn"];

/// Links that are followed before a path counts as one that leads nowhere; as many as Linux follows.
const MOST_LINKS: usize = 40;

impl Checkouts {
    /// Those of this process: its current directory, and what the runner of a CI service names.
    ///
    /// # Errors
    /// When there is no current directory.
    pub fn of_process() -> io::Result<Self> {
        Ok(Self::of(&std::env::current_dir()?, |name| std::env::var_os(name)))
    }

    /// Those of this current directory and environment.
    pub fn of(current: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        // CircleCI's is `~/project` by default, written like that.
        let home = variable("HOME").map(PathBuf::from);
        let whole = |path: PathBuf| match (path.strip_prefix("~"), &home) {
            (Ok(below), Some(home)) => home.join(below),
            _ => path,
        };
        let workspaces = WORKSPACES.iter().filter_map(|name| {
            let path = whole(PathBuf::from(variable(name)?));
            (path.is_absolute() && path != Path::new("/")).then(|| (*name, real(&path)))
        });
        Self { current: real(current), workspaces: workspaces.collect() }
    }

    /// Why the file is at the mercy of a checkout; nothing when it is not.
    ///
    /// # Errors
    /// When the way to it can't be walked, as when there is no such file.
    pub fn holding(&self, path: &Path) -> io::Result<Option<String>> {
        for place in self.lookups(path)? {
            if let Some(why) = self.why(&place) {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    fn why(&self, place: &Path) -> Option<String> {
        if let Some((name, _)) = self.workspaces.iter().find(|(_, workspace)| place.starts_with(workspace)) {
            return Some(format!("it lies in the checkout that ${name} names"));
        }
        // A container's current directory may be the root, below which everything lies.
        if self.current != Path::new("/") && place.starts_with(&self.current) {
            return Some(
                "it lies in the current directory (if that is your own one, change to another directory)".to_owned(),
            );
        }
        let mark = |top: &&Path| MARKS.iter().any(|mark| top.join(mark).symlink_metadata().is_ok());
        place.ancestors().find(mark).map(|top| format!("it lies in the work tree {}", top.display()))
    }

    /// The real directories in which names on the way are looked up, and at last the file itself.
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
    fn a_file_belongs_to_every_checkout_above_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        let at = |name: &str| top.join(name);
        for file in ["checkout/.git/HEAD", "checkout/roster.json", "checkout/a/b/roster.json", "safe/roster.json"] {
            write(&at(file));
        }
        write(&at("elsewhere/x"));
        symlink(at("safe/roster.json"), at("checkout/link.json")).expect("link");
        symlink(at("checkout"), at("safe/way")).expect("link");
        symlink("../checkout/link.json", at("safe/through.json")).expect("link");
        symlink(at("safe/loop"), at("safe/loop")).expect("link");
        let outside = Checkouts::of(&at("elsewhere"), |_| None);
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
        assert!(outside.holding(&at("safe/loop")).is_err() && outside.holding(&at("safe/none")).is_err());
    }

    #[test]
    fn files_in_the_current_directory_and_in_the_ci_workspace_belong_to_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("real");
        write(&top.join("work/sub/roster.json"));
        write(&top.join("trust/roster.json"));
        let here = Checkouts::of(&top.join("work"), |_| None);
        assert!(here.holding(Path::new("sub/roster.json")).expect("there").is_some());
        assert!(here.holding(&top.join("work/sub/roster.json")).expect("there").is_some());
        assert!(here.holding(Path::new("../trust/roster.json")).expect("there").is_none());
        for name in WORKSPACES {
            let runner = Checkouts::of(&top.join("trust"), |asked| (asked == name).then(|| top.join("work").into()));
            assert!(runner.holding(&top.join("work/sub/roster.json")).expect("there").is_some(), "{name}");
        }
        let circle = |home: Option<&Path>| {
            Checkouts::of(&top.join("trust"), |asked| match asked {
                "CIRCLE_WORKING_DIRECTORY" => Some("~/work".into()),
                "HOME" => home.map(Into::into),
                _ => None,
            })
        };
        assert!(circle(Some(&top)).holding(&top.join("work/sub/roster.json")).expect("there").is_some());
        assert!(circle(None).holding(&top.join("work/sub/roster.json")).expect("there").is_none());
        let root = Checkouts::of(Path::new("/"), |_| Some("/".into()));
        assert!(root.holding(&top.join("trust/roster.json")).expect("there").is_none());
    }
}
