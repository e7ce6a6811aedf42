//! The format of an executable file: machine code, with its dynamic loader, or a script, with its interpreter.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::sandbox::interpreter;

/// The format of an executable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileFormat {
    /// Machine code. The value is the dynamic loader, or `None` if the program is linked statically.
    Elf { loader: Option<PathBuf> },
    /// A script with a shebang line.
    Script { interpreter: PathBuf, argument: String },
    /// A file that the kernel can't execute by itself.
    Other,
}

/// Reads the format of a file from the first bytes of the file.
pub(super) fn format_of(path: &Path) -> Result<FileFormat, String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::with_capacity(256);
    (&file).take(256).read_to_end(&mut head).map_err(unreadable)?;
    if head.starts_with(b"#!") {
        return match interpreter::shebang(&head) {
            Ok(Some(program)) => {
                Ok(FileFormat::Script { interpreter: program.path, argument: program.arguments.join(" ") })
            }
            _ => {
                Err(format!("{} is a script whose first line names no interpreter by an absolute path", path.display()))
            }
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Ok(FileFormat::Other);
    }
    match elf_loader(&head, |at, bytes| file.read_exact_at(bytes, at)) {
        Some(loader) => Ok(FileFormat::Elf { loader: loader.map(PathBuf::from) }),
        None => Ok(FileFormat::Other),
    }
}

/// Returns the dynamic loader in the program header `PT_INTERP` of a 64-bit little-endian ELF file. The outer `None`
/// means that the file is a shared library or is malformed. The inner `None` means that the program is linked
/// statically (System V ABI, chapter 5).
fn elf_loader(head: &[u8], read_at: impl Fn(u64, &mut [u8]) -> std::io::Result<()>) -> Option<Option<String>> {
    const EXECUTABLE: u16 = 2;
    const INTERPRETER: u32 = 3;
    const MAX_LOADER: u64 = 4096;
    if head.get(4..6)? != [2, 1] {
        return None;
    }
    let half = |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (kind, table) = (half(head, 16)?, long(head, 32)?);
    let (size, count) = (half(head, 54)?, half(head, 56)?);
    let mut entry = vec![0; usize::from(size).max(56)];
    for number in 0..u64::from(count) {
        read_at(table.checked_add(number * u64::from(size))?, &mut entry).ok()?;
        if word(&entry, 0)? == INTERPRETER {
            let (at, length) = (long(&entry, 8)?, long(&entry, 32)?);
            let mut text = vec![0; usize::try_from(length).ok().filter(|_| length <= MAX_LOADER)?];
            read_at(at, &mut text).ok()?;
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            text.truncate(end);
            return Some(Some(String::from_utf8(text).ok()?));
        }
    }
    (kind == EXECUTABLE).then_some(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn loader_in(bytes: &[u8]) -> Option<Option<String>> {
        elf_loader(&bytes[..bytes.len().min(256)], |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let from = at.checked_add(into.len()).and_then(|end| bytes.get(at..end));
            from.map(|from| into.copy_from_slice(from)).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        })
    }

    #[test]
    fn the_loader_of_a_program_is_read_from_its_elf_header() {
        let shell = fs::read(interpreter::find("sh").expect("every host has a shell")).expect("readable");
        let loader = loader_in(&shell).expect("a program").expect("linked dynamically");
        assert!(Path::new(&loader).is_file(), "{loader}");
        assert_eq!(loader_in(b"\x7fELF\x01\x01"), None, "32 bits");
        assert_eq!(loader_in(&shell[..100]), None, "cut");
    }

    proptest! {
        #[test]
        fn a_broken_elf_file_causes_no_panic(
            cut in 0..4096_usize,
            changes in proptest::collection::vec((0..256_usize, any::<u8>()), 0..40),
        ) {
            let mut shell = fs::read(interpreter::find("sh").expect("every host has a shell")).expect("readable");
            shell.truncate(shell.len() - cut);
            for (at, byte) in changes {
                shell[at] = byte;
            }
            loader_in(&shell);
        }
    }
}
