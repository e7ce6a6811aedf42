//! The path of this program, as its caller names it.

use std::io;
use std::path::{Path, PathBuf};

/// Returns the absolute path by which this program was started. A link is not followed, so that a configuration with
/// this path starts the newest version on a host that switches versions by a link.
///
/// # Errors
/// Returns an error if the system does not know the path of this program.
pub fn own_program() -> io::Result<PathBuf> {
    let real = std::env::current_exe()?;
    let called = std::env::args_os()
        .next()
        .map(PathBuf::from)
        .unwrap_or_default();
    let directories = std::env::var_os("PATH").filter(|_| called.parent() == Some(Path::new("")));
    let named = match &directories {
        Some(directories) => std::env::split_paths(directories)
            .map(|directory| directory.join(&called))
            .collect(),
        None => vec![std::path::absolute(&called).unwrap_or_default()],
    };
    let is_this =
        |path: &PathBuf| path.is_absolute() && path.canonicalize().is_ok_and(|path| path == real);
    Ok(named.into_iter().find(is_this).unwrap_or(real))
}
