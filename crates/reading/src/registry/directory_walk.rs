//! Walks through a runbook directory and reads its files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    FileProblem, Page, ReadPage, RunbookFiles, TextLines, TextPlace, YamlFlaw, gruntwork, markdown,
    registry::{fence_remarks, page::check_writers},
    rundown, runnable,
};

/// Runbook files and errors found in one runbook directory.
#[derive(Default)]
pub struct RunbookDirectoryWalk {
    /// Path of the directory, with all symbolic links resolved.
    root: PathBuf,
    /// User who, besides root, may be able to write the runbooks. `None` allows any user.
    owner: Option<u32>,
    pub prefix: String,
    /// Relative name and path of each runbook.
    pub files: Vec<(String, PathBuf)>,
    pub errors: Vec<FileProblem>,
    /// Remarks about files that are not read because of the ending of their names.
    pub remarks: Vec<FileProblem>,
}

impl RunbookDirectoryWalk {
    /// Walks through `dir`. The names of its files are relative to `within`, or else to `dir`. `prefix` is the text
    /// before the file names in errors.
    pub fn through(dir: &Path, within: Option<&Path>, prefix: String, owner: Option<u32>) -> Self {
        let mut walk = Self {
            owner,
            prefix,
            ..Self::default()
        };
        walk.root(dir, within);
        walk
    }

    fn root(&mut self, dir: &Path, within: Option<&Path>) {
        match dir.canonicalize() {
            Ok(real) => {
                let own = if real.is_file() { real.parent().unwrap_or(&real) } else { &real };
                self.root = within.and_then(|within| within.canonicalize().ok()).unwrap_or_else(|| own.to_owned());
                let Ok(relative) = real.strip_prefix(&self.root) else {
                    let message = format!("the path is not below {}: name another --root", self.root.display());
                    return self.errors.push(FileProblem::whole(dir, message));
                };
                let relative = relative.to_string_lossy().into_owned();
                if real.is_file() {
                    // `dir` is a file if a person checks one runbook. A boundary accepts only directories, because only
                    // a directory can have a lock.
                    return self.entry(&real, &relative, &mut Vec::new());
                }
                self.check_writers(&real, "");
                self.directory(&real, &relative, &mut vec![real.clone()]);
            }
            Err(error) => self.errors.push(FileProblem::whole(
                dir,
                format!("the runbook directory can't be read ({error}): create it, or correct `runbooks` in the configuration"),
            )),
        }
    }

    fn directory(&mut self, real: &Path, relative: &str, above: &mut Vec<PathBuf>) {
        let entries =
            fs::read_dir(real).map_or_else(|error| vec![Err(error)], |entries| entries.collect());
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.refuse(
                        relative,
                        format!(
                            "the directory can't be read ({error}): repair or remove the directory"
                        ),
                    );
                    continue;
                }
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                let relative = if relative.is_empty() {
                    name
                } else {
                    format!("{relative}/{name}")
                };
                self.entry(&entry.path(), &relative, above);
            }
        }
    }

    fn entry(&mut self, path: &Path, relative: &str, above: &mut Vec<PathBuf>) {
        let is_runbook = relative.ends_with(".md") || relative.ends_with(".mdx");
        let is_link = path.is_symlink();
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) => {
                if is_runbook || is_link {
                    self.refuse(
                        relative,
                        format!(
                            "the path can't be read ({error}): repair or remove the file or link"
                        ),
                    );
                }
                return;
            }
        };
        if !real.starts_with(&self.root) {
            return self.refuse(
                relative,
                "the link points out of the runbook directory: copy the file or directory to this place instead",
            );
        }
        if real.is_dir() || is_runbook {
            // A symbolic link may lead through directories that the walk does not visit. Therefore these directories
            // are checked too.
            let way = if is_link {
                real.ancestors().count() - self.root.ancestors().count()
            } else {
                1
            };
            for on_the_way in real.ancestors().take(way.max(1)) {
                self.check_writers(on_the_way, relative);
            }
        }
        if real.is_dir() {
            if above.contains(&real) {
                return self.refuse(
                    relative,
                    "the link points to a directory above: remove the link",
                );
            }
            if above.len() >= MAX_DEPTH {
                return self.refuse(
                    relative,
                    format!(
                        "directories are nested deeper than {MAX_DEPTH} levels: reduce the nesting"
                    ),
                );
            }
            above.push(real.clone());
            self.directory(&real, relative, above);
            above.pop();
        } else if is_runbook && real.is_file() {
            self.files.push((relative.to_owned(), real));
        } else if is_runbook {
            self.refuse(relative, "this is not a regular file: remove the entry");
        } else if [".md", ".mdx", ".markdown"]
            .iter()
            .any(|end| relative.to_ascii_lowercase().ends_with(end))
        {
            let message =
                "the file is not read: a runbook has a name that ends in .md, .runbook.md or .mdx";
            let file = format!("{}{relative}", self.prefix);
            self.remarks.push(FileProblem::of_flaw(
                &file,
                YamlFlaw::new(TextPlace::START, message),
            ));
        }
    }

    fn check_writers(&mut self, real: &Path, relative: &str) {
        if let Err(message) = check_writers(self.owner, real) {
            self.refuse(relative, message);
        }
    }

    fn refuse(&mut self, relative: &str, message: impl Into<String>) {
        let file = if relative.is_empty() {
            self.root.display().to_string()
        } else {
            format!("{}{relative}", self.prefix)
        };
        self.errors.push(FileProblem::of_flaw(
            &file,
            YamlFlaw::new(TextPlace::START, message),
        ));
    }
}

/// Returns the text of a runbook file.
pub fn read_text(path: &Path) -> Result<String, Vec<YamlFlaw>> {
    let flaw = |message: String| vec![YamlFlaw::new(TextPlace::START, message)];
    let too_large = || {
        flaw(format!(
            "the file is larger than {MAX_FILE_BYTES} bytes: split the file"
        ))
    };
    let unreadable = |error: std::io::Error| {
        flaw(format!(
            "the file can't be read ({error}): repair or remove the file"
        ))
    };
    if fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE_BYTES {
        return Err(too_large());
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(too_large()); // The file grew while it was read.
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let place = TextLines::of(&String::from_utf8_lossy(good)).place(good.len());
        vec![YamlFlaw::new(
            place,
            "the file is not UTF-8: save the file as UTF-8",
        )]
    })
}

/// Returns the steps without flaws of the text of a file, together with the remarks and the flaws of the file. If
/// `owner` is given, only this user and root may be able to write the other files that the runbook names.
pub fn read_page(relative: &str, path: &Path, text: &str, owner: Option<u32>) -> ReadPage {
    let files = RunbookFiles::new(path.parent().unwrap_or(Path::new("")).to_owned(), owner);
    let page = |ending: &str| Page {
        name: relative.strip_suffix(ending).unwrap_or(relative),
        text,
        files: &files,
    };
    let read = if relative.ends_with(".mdx") {
        gruntwork::read(&page(".mdx"))
    } else if relative.ends_with(".runbook.md") {
        Some(rundown::read(&page(".runbook.md")))
    } else {
        let page = page(".md");
        let read = markdown::read(&page).or_else(|| runnable::read(&page));
        read.or_else(|| {
            Some(ReadPage {
                remarks: vec![fence_remarks::of_prose(text)?],
                ..ReadPage::default()
            })
        })
    };
    read.unwrap_or_default()
}

/// Maximum size of a runbook, in bytes. People review runbooks, so a larger file is not useful.
pub const MAX_FILE_BYTES: u64 = 256 << 10;
/// Maximum nesting depth of directories.
const MAX_DEPTH: usize = 16;
