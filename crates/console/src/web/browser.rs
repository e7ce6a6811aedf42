//! Starts the browser of the desktop.

use std::{
    io,
    process::{Command, Stdio},
};

use crate::Door;

/// Starts the browser with a file that leads to the address. The argument list contains only the path of the file. The
/// file exists until the returned directory is dropped. If a signal ends the program earlier, the file remains, but its
/// link no longer works.
///
/// # Errors
/// Returns an error if the file can't be written, or if there is no program that opens a browser.
pub fn start(door: &Door) -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("countersign-open-")
        .tempdir()?;
    let page = door.write_link(directory.path())?;
    let program = if cfg!(target_os = "macos") {
        "open"
    } else {
        "xdg-open"
    };
    let mut command = Command::new(program);
    command
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.spawn() {
        Ok(_) => Ok(directory),
        Err(error) => Err(io::Error::new(error.kind(), format!("{program}: {error}"))),
    }
}
