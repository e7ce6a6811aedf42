//! The pages that one command opens. The bytes that are shown are the bytes that run.
//!
//! The file also contains:
//!
//! - the files that a page gives to the browser: images of the prose, and files that a step left
//! - the policy of each page. A page that appears while the program runs gets its policy with its first step.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read as _,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
};

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Redirect, Response},
};
use serde_json::Map;
use tokio::sync::mpsc::{Receiver, channel};

use crate::{LocalRules, Project, RuleArgs, Runbook};
use client::{CommandFailure, CommandResult, PrintableText, definitions_diff, fail_usage};
use console::{Heading, PageAnswer, Part, missing, prose::prose};
use documents::{StepDefinition, locked, sha256};
use reading::{FileProblem, RegisteredStep, prose_tree};
use sandbox::CapturedFile;

/// Maximum number of pages that one command opens.
pub const MOST: usize = 500;

/// A step on a page.
pub struct PageStep {
    /// Number of the step in addresses. A step of the same name keeps its number if the page is loaded again.
    pub number: usize,
    /// The step.
    pub step: Arc<RegisteredStep>,
    /// What the person confirms before the step.
    pub confirmations: Vec<String>,
}

impl PageStep {
    /// Returns the name of the step in its runbook.
    pub fn name(&self) -> &str {
        self.step.definition.reference.step()
    }
}

/// A runbook that is open in the browser.
pub struct OpenPage {
    /// The runbook.
    pub runbook: Runbook,
    /// Steps in the order of the file.
    pub steps: Vec<PageStep>,
    /// Headings of the prose.
    pub headings: Vec<Heading>,
    /// Prose and steps in the order of the file.
    pub parts: Vec<Part>,
    /// Images of the prose, as the page names them.
    pub images: Vec<String>,
    /// Links of the prose to other runbooks, as the page names them.
    pub links: Vec<String>,
    /// Digest of the file's bytes.
    digest: [u8; 32],
}

/// A file of a directory: an open page, or the reason why it is not open.
#[derive(Clone)]
pub struct ListedFile {
    /// Path as the person gave it, with the path below the directory.
    pub shown: String,
    /// The page, or all errors in the file.
    pub page: Result<Arc<OpenPage>, String>,
    /// What differs between the file and the page, or what the last save changed.
    pub news: Vec<String>,
}

impl ListedFile {
    fn read(shown: String, project: &Project) -> Self {
        let page = OpenPage::read(&shown, project, None)
            .map(Arc::new)
            .map_err(|failure| failure.message);
        Self {
            shown,
            page,
            news: Vec::new(),
        }
    }
}

impl OpenPage {
    /// Returns the images that can't be shown.
    pub fn unread_images(&self) -> impl Iterator<Item = &String> {
        let directory = self.runbook.real.parent();
        self.images.iter().filter(move |image| {
            directory
                .and_then(|directory| read_image(directory, image))
                .is_none()
        })
    }

    /// Answers with an image of the prose.
    ///
    /// # Errors
    /// Returns the refusal if the page has no such image.
    pub fn image(&self, image: usize) -> PageAnswer<Response> {
        let path = self.images.get(image);
        let (kind, bytes) = path
            .and_then(|path| read_image(self.runbook.real.parent()?, path))
            .ok_or_else(|| missing("No such image", "The page shows no image of this number."))?;
        Ok(([(CONTENT_TYPE, kind)], bytes).into_response())
    }

    /// Reads a runbook. The steps keep the numbers that they have on the page `known`.
    ///
    /// # Errors
    /// Returns all errors in the file.
    pub fn read(file: &str, project: &Project, known: Option<&Self>) -> CommandResult<Self> {
        let runbook = Runbook::read(file, &[], Map::new(), project)?;
        let unread = |why: &dyn std::fmt::Display| {
            CommandFailure::usage(format!("can't read {}: {why}", PrintableText::text(file)))
        };
        let text = std::fs::read_to_string(&runbook.real).map_err(|error| unread(&error))?;
        let mut steps: Vec<Arc<RegisteredStep>> = match &runbook.workflow {
            Some(workflow) => workflow.steps.values().cloned().collect(),
            None => runbook.steps.iter().map(|one| one.step.clone()).collect(),
        };
        steps.sort_by_key(|step| line_of(step));
        let lines: Vec<usize> = steps.iter().map(|step| line_of(step)).collect();
        let tree = prose_tree(file, &text).map_err(|why| unread(&why))?;
        let found = prose(&tree, &lines);
        let known = known.map_or(&[][..], |known| &known.steps);
        let mut unused = known.iter().map(|one| one.number + 1).max().unwrap_or(0);
        let numbered = steps
            .into_iter()
            .zip(found.confirmations)
            .map(|(step, confirmations)| {
                let name = step.definition.reference.step();
                let before = known.iter().find(|one| one.name() == name);
                let number = before.map_or(unused, |before| before.number);
                unused += usize::from(before.is_none());
                PageStep {
                    number,
                    step,
                    confirmations,
                }
            });
        Ok(Self {
            runbook,
            steps: numbered.collect(),
            headings: found.headings,
            parts: found.parts,
            images: found.images,
            links: found.links,
            digest: sha256(text.as_bytes()),
        })
    }

    /// Returns the step with this number.
    pub fn step(&self, number: usize) -> Option<&PageStep> {
        self.steps.iter().find(|one| one.number == number)
    }

    /// Returns the step that contains the place of an error in this file.
    pub fn step_at(&self, error: &FileProblem) -> Option<&PageStep> {
        let is_own = self
            .runbook
            .real
            .file_name()
            .is_some_and(|name| *name == *error.file);
        self.steps
            .iter()
            .filter(|step| is_own && line_of(&step.step) <= error.line)
            .max_by_key(|step| line_of(&step.step))
    }

    /// Returns true if the file has other bytes now than the page that is open.
    pub fn has_changed(&self) -> bool {
        std::fs::read(&self.runbook.real).map_or(true, |bytes| sha256(&bytes) != self.digest)
    }

    /// Returns one line for each difference between this page and a newer one, and the numbers of the steps that
    /// differ.
    fn differences(&self, newer: &Self) -> (Vec<String>, Vec<usize>) {
        let (mut lines, mut numbers) = (Vec::new(), Vec::new());
        for step in &newer.steps {
            match self.step(step.number) {
                Some(before) if before.step.digest == step.step.digest => continue,
                Some(before) => {
                    lines.push(format!(
                        "the step {} changed: its digest was {}, and is now {}",
                        step.name(),
                        before.step.digest,
                        step.step.digest
                    ));
                    let (old, new) = (&before.step.definition, &step.step.definition);
                    let value = |definition: &StepDefinition| {
                        serde_json::to_value(definition).unwrap_or_default()
                    };
                    let found =
                        definitions_diff((&old.source, &value(old)), (&new.source, &value(new)));
                    let changes = found.script.iter().chain(&found.fields).take(MOST_CHANGES);
                    lines.extend(changes.map(|change| {
                        format!("{} {}", if change.was { "-" } else { "+" }, change.text)
                    }));
                }
                None => lines.push(format!("the step {} is new", step.name())),
            }
            numbers.push(step.number);
        }
        for step in self
            .steps
            .iter()
            .filter(|step| newer.step(step.number).is_none())
        {
            lines.push(format!("the step {} is no longer in the file", step.name()));
            numbers.push(step.number);
        }
        if lines.is_empty() && self.digest != newer.digest {
            lines.push(
                "only the text around the steps changed; each step has the same digest".to_owned(),
            );
        }
        (lines, numbers)
    }
}

/// The files that one command opens.
pub struct OpenFiles {
    project: Project,
    /// The directory, as the person gave it. `None` if the person named a file.
    directory: Option<PathBuf>,
    /// A file keeps its place for as long as the program runs.
    files: Mutex<Vec<ListedFile>>,
}

impl OpenFiles {
    /// Opens a file, or all runbooks of a directory and the directories in it. `keeps_broken` is true if a file with
    /// errors becomes a page as soon as it has none.
    ///
    /// # Errors
    /// Returns the errors of the file. The errors of a file in a directory are shown on the page instead.
    pub fn open(path: &str, project: &Project, keeps_broken: bool) -> CommandResult<Self> {
        let place = project.cwd.join(path);
        let directory = place.is_dir().then(|| place.clone());
        let own = Self {
            project: project.clone(),
            directory,
            files: Mutex::default(),
        };
        if own.directory.is_some() {
            if own.find_new().is_empty() {
                let shown = PrintableText::text(path);
                return fail_usage(format!(
                    "{shown} is a directory without a file that ends in .md, .runbook.md or .mdx: name a runbook"
                ));
            }
        } else {
            let page = OpenPage::read(path, project, None).map(Arc::new);
            let page = if keeps_broken && place.is_file() {
                page.map_err(|failure| failure.message)
            } else {
                Ok(page?)
            };
            locked(&own.files).push(ListedFile {
                shown: path.to_owned(),
                page,
                news: Vec::new(),
            });
        }
        Ok(own)
    }

    /// Looks for runbooks of the directory that are not open, and opens them. Returns their places.
    pub fn find_new(&self) -> Vec<usize> {
        let mut found = Vec::new();
        if let Some(directory) = &self.directory {
            collect(directory, &mut found);
        }
        found.sort();
        let names = |file: &PathBuf| {
            file.strip_prefix(&self.project.cwd)
                .unwrap_or(file)
                .to_string_lossy()
                .into_owned()
        };
        let known: BTreeSet<String> = self.all().into_iter().map(|file| file.shown).collect();
        let fresh = found
            .iter()
            .map(names)
            .filter(|shown| !known.contains(shown));
        let fresh = fresh.map(|shown| ListedFile::read(shown, &self.project));
        let fresh: Vec<ListedFile> = fresh.take(MOST - known.len()).collect();
        let mut files = locked(&self.files);
        let first = files.len();
        files.extend(fresh);
        (first..files.len()).collect()
    }

    /// Returns a file as it is shown now.
    pub fn get(&self, at: usize) -> Option<ListedFile> {
        locked(&self.files).get(at).cloned()
    }

    /// Returns a file as it is saved now. The open page stays as it is.
    pub fn saved(&self, at: usize) -> Option<ListedFile> {
        Some(ListedFile::read(self.get(at)?.shown, &self.project))
    }

    /// Returns an open page.
    pub fn page(&self, at: usize) -> Option<Arc<OpenPage>> {
        self.get(at)?.page.ok()
    }

    /// Returns the path of a file.
    pub fn place(&self, file: &ListedFile) -> PathBuf {
        self.project.cwd.join(&file.shown)
    }

    /// Redirects to the runbook that a link of this page names.
    ///
    /// # Errors
    /// Returns what to do if the page has no such link, or if the runbook is not open.
    pub fn follow(&self, page: &OpenPage, link: usize) -> PageAnswer<Redirect> {
        let link = page.links.get(link).map_or("", String::as_str);
        let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
        let real = |path: PathBuf| path.canonicalize().ok();
        let wanted = page
            .runbook
            .real
            .parent()
            .and_then(|directory| real(directory.join(path)));
        let at = self
            .all()
            .iter()
            .position(|file| wanted.is_some() && real(self.place(file)) == wanted);
        let what = "The link leads to a file that is not open here. Open a directory that contains both files: `countersign open DIR`.";
        let none = || missing("No such runbook", what);
        Ok(Redirect::to(&format!(
            "/page/{}/#{fragment}",
            at.ok_or_else(none)?
        )))
    }

    /// Returns true if the file no longer exists.
    pub fn is_removed(&self, file: &ListedFile) -> bool {
        self.place(file).symlink_metadata().is_err()
    }

    /// Returns all files as they are shown now.
    pub fn all(&self) -> Vec<ListedFile> {
        locked(&self.files).clone()
    }

    /// Reads a file again after a save. Returns the numbers of the steps that the page shows in another form now, or
    /// `None` if nothing on the page changes.
    pub fn read_again(&self, at: usize, watches: bool) -> Option<Vec<usize>> {
        let listed = self.get(at)?;
        let found = OpenPage::read(
            &listed.shown,
            &self.project,
            listed.page.as_ref().ok().map(|page| &**page),
        );
        let mut numbers = Vec::new();
        let mut next = listed.clone();
        match (&listed.page, found) {
            (_, Err(_)) if self.is_removed(&listed) => next.news = vec![REMOVED.to_owned()],
            (Ok(page), Ok(newer)) => {
                let (news, changed) = page.differences(&newer);
                let passing = |line: &String| line.starts_with(BROKEN) || line == REMOVED;
                if watches && !news.is_empty() {
                    numbers = changed;
                    next.page = Ok(Arc::new(newer));
                    next.news = news;
                // With `--watch`, a save without a change keeps the earlier news.
                } else if !watches || listed.news.iter().any(passing) {
                    next.news = news;
                }
            }
            (Ok(_), Err(why)) => next.news = vec![format!("{BROKEN}{}", why.message)],
            (Err(_), Ok(newer)) if watches => {
                next.page = Ok(Arc::new(newer));
                next.news.clear();
            }
            (Err(_), Ok(_)) => {}
            (Err(_), Err(why)) => {
                next.page = Err(why.message);
                next.news.clear();
            }
        }
        let same_page =
            listed.page.as_ref().map(Arc::as_ptr) == next.page.as_ref().map(Arc::as_ptr);
        if same_page && listed.news == next.news {
            return None;
        }
        *locked(&self.files).get_mut(at)? = next;
        Some(numbers)
    }
}

/// Returns the number of the line with which a step begins in its file.
pub fn line_of(step: &RegisteredStep) -> usize {
    step.place.as_ref().map_or(0, |place| place.place.line)
}

/// Maximum number of changed lines of a step that a page shows.
const MOST_CHANGES: usize = 40;
/// Beginning of the news about a file that can't be read now.
const BROKEN: &str = "the saved file has errors, so the page still shows the file before: ";

/// News about a file that was removed.
const REMOVED: &str = "the file was removed; what was open stays open until the program ends";

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type();
        if name.starts_with('.') || files.len() >= MOST {
            continue;
        }
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
            collect(&path, files);
        } else if kind.is_ok_and(|kind| kind.is_file())
            && (name.ends_with(".md") || name.ends_with(".mdx"))
        {
            files.push(path);
        }
    }
}

/// Maximum size of an image, in bytes.
const MAX_IMAGE: u64 = 5 << 20;
/// Maximum size of a text that a page shows, in bytes.
const MAX_TEXT: u64 = 256 << 10;
/// Size of the parts of a download, in bytes.
const PART: usize = 64 << 10;
/// Endings of the names of text files that a browser could run. Such files are only downloaded.
const NOT_SHOWN: [&str; 7] = [".svg", ".html", ".htm", ".xhtml", ".xht", ".xml", ".pdf"];

/// How the browser gets a file of a step.
pub enum ShownFile {
    /// An image with its type.
    Image(&'static str, Vec<u8>),
    /// A text, which a page shows.
    Text(String),
    /// Any other file: the name for the download, and its bytes.
    Download(String, Receiver<std::io::Result<Vec<u8>>>),
}

impl ShownFile {
    /// Reads a file. `wanted` is true if the person wants a download.
    ///
    /// # Errors
    /// Returns an error if the file can't be opened or read.
    pub fn read(found: &CapturedFile, wanted: bool) -> Result<Self, String> {
        let file = found.open()?;
        let name = found
            .path
            .as_str()
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if !wanted && found.bytes <= MAX_IMAGE && !NOT_SHOWN.iter().any(|end| name.ends_with(end)) {
            let mut bytes = Vec::new();
            if (&file).take(MAX_IMAGE).read_to_end(&mut bytes).is_ok() {
                if let Some(kind) = image_type(&bytes) {
                    return Ok(Self::Image(kind, bytes));
                }
                if found.bytes <= MAX_TEXT
                    && let Ok(text) = String::from_utf8(bytes)
                    && !text.contains('\0')
                {
                    return Ok(Self::Text(text));
                }
            }
        }
        Ok(Self::Download(
            download_name(found.path.as_str()),
            parts(found.open()?),
        ))
    }
}

/// Returns the last name of a path, with `_` in place of each character that a header could not carry.
fn download_name(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    name.chars().map(kept).collect()
}

/// Reads a file in parts on a thread of its own.
fn parts(mut file: File) -> Receiver<std::io::Result<Vec<u8>>> {
    let (send, receive) = channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut part = vec![0; PART];
            let read = file.read(&mut part).map(|length| {
                part.truncate(length);
                part
            });
            let (ends, fails) = (read.as_ref().is_ok_and(Vec::is_empty), read.is_err());
            if ends || send.blocking_send(read).is_err() || fails {
                return;
            }
        }
    });
    receive
}

/// Reads an image below the directory of its page. The type comes from the bytes, so no other file is served.
pub fn read_image(directory: &Path, path: &str) -> Option<(&'static str, Vec<u8>)> {
    let path = Path::new(path);
    if path
        .components()
        .any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return None;
    }
    let (directory, real) = (
        directory.canonicalize().ok()?,
        directory.join(path).canonicalize().ok()?,
    );
    let metadata = real
        .metadata()
        .ok()
        .filter(|found| found.is_file() && found.len() <= MAX_IMAGE)?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).ok()?);
    if !real.starts_with(directory) {
        return None;
    }
    File::open(real)
        .ok()?
        .take(MAX_IMAGE)
        .read_to_end(&mut bytes)
        .ok()?;
    Some((image_type(&bytes)?, bytes))
}

/// Returns the type of an image from its first bytes.
fn image_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

/// The policy of each page, by its place.
pub struct PageRules {
    options: RuleArgs,
    project: Project,
    rules: Vec<OnceLock<LocalRules>>,
}

impl PageRules {
    /// Reads the policies of all files that are open.
    ///
    /// # Errors
    /// Returns an error if a policy can't be read.
    pub fn read(options: &RuleArgs, project: &Project, files: &OpenFiles) -> CommandResult<Self> {
        let rules = std::iter::repeat_with(OnceLock::new).take(MOST).collect();
        let own = Self {
            options: options.clone(),
            project: project.clone(),
            rules,
        };
        for at in 0..files.all().len() {
            own.of(at, files)?;
        }
        Ok(own)
    }

    /// Returns the policy of a page.
    ///
    /// # Errors
    /// Returns an error if there is no such page, or if its policy can't be read.
    pub fn of(&self, at: usize, files: &OpenFiles) -> CommandResult<&LocalRules> {
        let none = || CommandFailure::usage("no such page");
        let (place, file) = self.rules.get(at).zip(files.get(at)).ok_or_else(none)?;
        if let Some(known) = place.get() {
            return Ok(known);
        }
        let name = self.project.runbook(Path::new(&file.shown))?;
        let mut made = LocalRules::find(&self.options, &self.project, &name)?;
        made.asked_elsewhere = true;
        Ok(place.get_or_init(|| made))
    }
}

#[cfg(test)]
mod shown_file_tests {
    use super::*;

    #[test]
    fn the_name_of_a_download_has_only_plain_characters() {
        for (path, name) in [
            ("a/b c.txt", "b_c.txt"),
            ("x\"\r\ny", "x___y"),
            ("é.png", "_.png"),
        ] {
            assert_eq!(download_name(path), name);
        }
    }

    #[test]
    fn only_images_below_the_directory_of_the_page_are_served() {
        let root = tempfile::tempdir().expect("a directory");
        let page = root.path().join("page");
        std::fs::create_dir(&page).expect("a directory");
        let png = b"\x89PNG\r\n\x1a\nrest";
        std::fs::write(page.join("a.png"), png).expect("a file");
        std::fs::write(page.join("text.png"), "no image").expect("a file");
        std::fs::write(root.path().join("secret.png"), png).expect("a file");
        std::os::unix::fs::symlink("../secret.png", page.join("link.png")).expect("a link");
        assert_eq!(
            read_image(&page, "a.png"),
            Some(("image/png", png.to_vec()))
        );
        for path in [
            "text.png",
            "../secret.png",
            "link.png",
            "missing.png",
            "/etc/passwd",
            ".",
        ] {
            assert_eq!(read_image(&page, path), None, "{path}");
        }
    }
}
