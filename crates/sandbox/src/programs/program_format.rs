//! The format of an executable file: machine code, with its dynamic loader, or a script, with its interpreter.

use std::{
    fs::File,
    io::ErrorKind::{NotFound, PermissionDenied},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::interpreter;

/// The format of an executable file.
#[derive(PartialEq)]
pub enum FileFormat {
    /// Machine code. The value is the dynamic loader, or `None` if the program is linked statically or the file is no 64-bit
    /// program.
    Elf { loader: Option<PathBuf> },
    /// A script with a shebang line.
    Script {
        interpreter: PathBuf,
        argument: String,
    },
    /// A file that the kernel can't execute by itself.
    Other,
}

/// Reads the format of a file from the first bytes of the file.
pub fn format_of(path: &Path) -> Result<FileFormat, String> {
    let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let (file, head) = head_of(path).map_err(unreadable)?;
    if head.starts_with(b"#!") {
        return match interpreter::shebang(&head) {
            Ok(Some(program)) => Ok(FileFormat::Script {
                interpreter: program.path,
                argument: program.arguments.join(" "),
            }),
            _ => Err(format!(
                "{} is a script whose first line names no interpreter by an absolute path",
                path.display()
            )),
        };
    }
    match elf_program(&head, |at, bytes| file.read_exact_at(bytes, at)) {
        Some((loader, _)) => Ok(FileFormat::Elf {
            loader: loader.map(PathBuf::from),
        }),
        None if head.starts_with(b"\x7fELF") => Ok(FileFormat::Elf { loader: None }),
        None => Ok(FileFormat::Other),
    }
}

/// Reads the first bytes of a file. For most programs, these bytes contain all program headers.
fn head_of(path: &Path) -> std::io::Result<(File, Vec<u8>)> {
    let file = File::open(path)?;
    let mut head = vec![0; 1024];
    let length = file.read_at(&mut head, 0)?;
    head.truncate(length);
    Ok((file, head))
}

/// Returns true if the dynamic loader could start the file as a program. The loader checks neither the name of the file nor
/// the right to execute the file. `library` is true if the file has the name of a library.
pub fn can_be_mapped_as_program(path: &Path, library: bool) -> bool {
    match head_of(path) {
        Ok((file, head)) => elf_program(&head, |at, bytes| file.read_exact_at(bytes, at))
            // The C library and libcap name a dynamic loader too, but a run needs them as libraries.
            .is_some_and(|(_, linked)| linked || !library),
        // If the service can't read a file, a run can't read the file either.
        Err(error) => !matches!(error.kind(), NotFound | PermissionDenied),
    }
}

/// Returns the dynamic loader of a program in a 64-bit little-endian ELF file, and true if the linker made a program,
/// not a library (`ET_EXEC` or `DF_1_PIE`). Returns `None` for a shared library and for a malformed file (System V ABI,
/// chapters 4 and 5). The C library names a dynamic loader too, because users can execute this library.
fn elf_program(
    head: &[u8],
    read_at: impl Fn(u64, &mut [u8]) -> std::io::Result<()>,
) -> Option<(Option<String>, bool)> {
    const EXECUTABLE: u16 = 2;
    const DYNAMIC: u32 = 2;
    const INTERPRETER: u32 = 3;
    const MAX_LOADER: u64 = 4096;
    const MAX_DYNAMIC: u64 = 64 << 10;
    if !head.starts_with(b"\x7fELF") || head.get(4..6)? != [2, 1] {
        return None;
    }
    let read_at = |at: u64, into: &mut [u8]| {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        match from
            .checked_add(into.len())
            .and_then(|end| head.get(from..end))
        {
            Some(known) => {
                into.copy_from_slice(known);
                Ok(())
            }
            None => read_at(at, into),
        }
    };
    let half =
        |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word =
        |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (kind, table) = (half(head, 16)?, long(head, 32)?);
    let (size, count) = (half(head, 54)?, half(head, 56)?);
    let part = |entry: &[u8], most: u64| {
        let (at, length) = (long(entry, 8)?, long(entry, 32)?);
        let mut bytes = vec![0; usize::try_from(length).ok().filter(|_| length <= most)?];
        read_at(at, &mut bytes).ok()?;
        Some(bytes)
    };
    let (mut loader, mut linked) = (None, kind == EXECUTABLE);
    let mut entry = vec![0; usize::from(size).max(56)];
    for number in 0..u64::from(count) {
        read_at(table.checked_add(number * u64::from(size))?, &mut entry).ok()?;
        match word(&entry, 0)? {
            INTERPRETER => {
                let mut text = part(&entry, MAX_LOADER)?;
                let end = text
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(text.len());
                text.truncate(end);
                loader = Some(String::from_utf8(text).ok()?);
            }
            DYNAMIC => {
                linked |=
                    part(&entry, MAX_DYNAMIC).is_none_or(|section| is_program_by_flags(&section))
            }
            _ => {}
        }
    }
    (linked || loader.is_some()).then_some((loader, linked))
}

/// Returns true if a dynamic section has the flag `DF_1_PIE`, which linkers give to programs and not to libraries.
fn is_program_by_flags(section: &[u8]) -> bool {
    const FLAGS_1: u64 = 0x6fff_fffb;
    const PIE: u64 = 0x0800_0000;
    let entries = section
        .chunks_exact(16)
        .filter_map(|entry| Some((long(entry, 0)?, long(entry, 8)?)));
    let mut entries = entries.take_while(|(tag, _)| *tag != 0);
    entries.any(|(tag, value)| tag == FLAGS_1 && value & PIE != 0)
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn program_in(bytes: &[u8]) -> Option<(Option<String>, bool)> {
        elf_program(&bytes[..bytes.len().min(256)], |at, into| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let from = at
                .checked_add(into.len())
                .and_then(|end| bytes.get(at..end));
            from.map(|from| into.copy_from_slice(from))
                .ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
        })
    }

    #[test]
    fn the_loader_of_a_program_is_read_from_its_elf_header() {
        let shell =
            fs::read(interpreter::find("sh").expect("every host has a shell")).expect("readable");
        let (loader, linked) = program_in(&shell).expect("a program");
        let loader = loader.expect("linked dynamically");
        assert!(linked && Path::new(&loader).is_file(), "{loader}");
        assert_eq!(program_in(b"\x7fELF\x01\x01"), None, "32 bits");
        assert_eq!(program_in(&shell[..100]), None, "cut");
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
            program_in(&shell);
        }
    }
}
