//! Looks for saved files while the pages are open.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{Board, OpenFiles};

/// Maximum number of files and directories that one look reads.
const MOST: usize = 5_000;
/// Maximum depth below the directory of a runbook. Scripts of a runbook lie less deep.
const MAX_DEPTH: usize = 4;
/// Names of directories that are not looked at: other programs fill them.
const SKIPPED: [&str; 2] = ["node_modules", "target"];
/// The pause after a look is at least this many times as long as the look, so that a large directory costs little.
const PAUSE: u32 = 20;

/// Path, inode, size and times of a file or directory.
pub type SavedState = (PathBuf, u64, u64, (i64, i64), (i64, i64));

/// Looks at the directories of the open files until the program ends, and reads the files again after each change. A
/// change is complete if two looks find the same state, because an editor may write a file in several steps. With
/// `watches`, a new runbook of the directory becomes a page.
pub fn keep_looking(files: &Arc<OpenFiles>, board: &Arc<Board>, directory: &Path, watches: bool) {
    let least = if watches {
        Duration::from_millis(80)
    } else {
        Duration::from_secs(1)
    };
    let look = || states_below(directory, MAX_DEPTH, MOST, &SKIPPED);
    // The first look counts as a change, because a file may have changed since it was opened.
    let (mut before, mut handled) = (look(), Vec::new());
    loop {
        let began = Instant::now();
        let now = look();
        if now == before && now != handled {
            handled.clone_from(&now);
            if watches {
                for at in files.find_new() {
                    board.load_again(at, &[]);
                }
            }
            for at in 0..files.all().len() {
                if let Some(steps) = files.read_again(at, watches) {
                    board.load_again(at, &steps);
                }
            }
        }
        before = now;
        std::thread::sleep(least.max(began.elapsed() * PAUSE));
    }
}

/// Returns the states of at most `most` files and directories below a directory, sorted by path. Hidden files and
/// directories, and those with a name in `skipped`, are left out.
pub fn states_below(
    directory: &Path,
    max_depth: usize,
    most: usize,
    skipped: &[&str],
) -> Vec<SavedState> {
    let mut found = Vec::new();
    let mut open = vec![(directory.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let Ok(at) = fs::metadata(&path) else {
            continue;
        };
        if found.len() >= most {
            break;
        }
        found.push((
            path.clone(),
            at.ino(),
            at.size(),
            (at.mtime(), at.mtime_nsec()),
            (at.ctime(), at.ctime_nsec()),
        ));
        if at.is_dir() && depth < max_depth {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let wanted = entries.filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                !name.starts_with('.') && !skipped.contains(&&*name)
            });
            open.extend(wanted.map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_file_changes_the_state_of_its_directory() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(root.path().join("node_modules/a")).expect("a directory");
        fs::write(root.path().join("a.md"), "one").expect("a file");
        let before = states_below(root.path(), MAX_DEPTH, MOST, &SKIPPED);
        fs::write(root.path().join("node_modules/a/b.js"), "two").expect("a file");
        assert_eq!(
            states_below(root.path(), MAX_DEPTH, MOST, &SKIPPED),
            before,
            "programs of others are not looked at"
        );
        fs::write(root.path().join("a.md"), "longer").expect("a file");
        assert_ne!(states_below(root.path(), MAX_DEPTH, MOST, &SKIPPED), before);
    }
}
