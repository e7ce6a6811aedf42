//! The files that a page gives to the browser: images of the prose, and files that a step left.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use sandbox::{CapturedFile, ResultsError};
use tokio::sync::mpsc::{Receiver, channel};

/// Maximum size of an image, in bytes.
const MAX_IMAGE: u64 = 5 << 20;
/// Maximum size of a text that a page shows, in bytes.
const MAX_TEXT: u64 = 256 << 10;
/// Size of the parts of a download, in bytes.
const PART: usize = 64 << 10;
/// Ends of names of text files that a browser could run. They are only downloaded.
const NOT_SHOWN: [&str; 7] = [".svg", ".html", ".htm", ".xhtml", ".xht", ".xml", ".pdf"];

/// How the browser gets a file of a step.
#[derive(Debug)]
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
    pub fn read(found: &CapturedFile, wanted: bool) -> Result<Self, ResultsError> {
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

#[cfg(test)]
mod tests {
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
