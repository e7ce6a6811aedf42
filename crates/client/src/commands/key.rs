//! The `key` command makes and shows keys.
//!
//! The module also finds the absolute path of this program.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    CommandFailure, CommandResult, Home, PrintableText, Terminal, fail_usage, open_signer,
    write_public_key, write_secret_key,
};
use documents::{SecretKey, SshKey};

/// Make keys and show keys.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign key generate                     # your approver's key, in your configuration directory
  countersign key generate --out boundary/key.pem
  countersign key show ~/.ssh/id_ed25519.pub")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make an Ed25519 key without a passphrase: FILE (PKCS#8 v1 PEM, mode 0600) and FILE with .pub (one OpenSSH line)
    #[command(after_help = "Examples:
  countersign key generate --comment alice     # countersign/key.pem in your configuration directory
  countersign key generate --out alice.pem     # and alice.pub

The key has no passphrase, so anyone who can read FILE can sign. ssh-keygen can make a key with a passphrase or on a \
security key; name such a key with --key:
  ssh-keygen -t ed25519 -f alice               # asks for a passphrase; ssh-agent keeps it
  ssh-keygen -t ed25519-sk -f alice            # on a security key
  countersign approve --key alice.pub")]
    Generate {
        /// The file to write; by default countersign/key.pem in your configuration directory
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// A comment in the public key line, such as your name
        #[arg(long, default_value = "", value_name = "TEXT")]
        comment: String,
    },
    /// Print the OpenSSH line and the key id of a key; reads PKCS#8 files and OpenSSH private and public keys
    #[command(after_help = "Examples:
  countersign key show ~/.ssh/id_ed25519.pub
  countersign key show bob.pem                 # of a key that openssl made: the line for the roster
  countersign key show --key bob.pem           # the same, as the other commands name a key")]
    Show {
        /// The file of the key
        #[arg(value_name = "FILE", required_unless_present = "key")]
        file: Option<PathBuf>,
        /// The file of the key; the same as the argument FILE
        #[arg(long, value_name = "FILE", conflicts_with = "file")]
        key: Option<PathBuf>,
    },
}

/// Creates a key or shows the public part of a key.
///
/// # Errors
/// Returns an error if a file that the command must create exists already, or if a file cannot be read or written.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    match &args.command {
        Command::Generate { out, comment } => {
            let path = match out {
                Some(path) => path.clone(),
                None => own_place()?,
            };
            let key = generate(&path, comment)?;
            if !terminal.json {
                terminal.say(format!(
                    "wrote {} (keep this file secret: it has no passphrase; ssh-keygen makes keys with a passphrase) \
                     and {}",
                    path.display(),
                    public_path(&path).display()
                ));
            }
            print(&key, &path, terminal)
        }
        Command::Show { file, key } => {
            let file = file
                .as_ref()
                .or(key.as_ref())
                .ok_or_else(|| CommandFailure::usage("name the key's file"))?;
            let signer = open_signer(file).map_err(CommandFailure::usage)?;
            print(signer.key(), file, terminal)
        }
    }
}

/// Creates a private key file and its public key file.
///
/// # Errors
/// Returns an error if one of the files exists already, or if the directory cannot be written.
pub fn generate(path: &Path, comment: &str) -> CommandResult<SshKey> {
    let public = public_path(path);
    if public.symlink_metadata().is_ok() {
        return fail_usage(format!(
            "{} already exists and is not replaced: choose another name",
            public.display()
        ));
    }
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *seed).map_err(CommandFailure::usage)?;
    let secret = SecretKey::from_seed(*seed);
    let key = SshKey::from_public(secret.public(), comment).map_err(CommandFailure::usage)?;
    write_secret_key(path, &secret).map_err(CommandFailure::usage)?;
    write_public_key(&public, &key).map_err(CommandFailure::usage)?;
    Ok(key)
}

/// Returns the path of the public key file: `key.pub` for the private key file `key.pem` or `key`.
fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

fn own_place() -> CommandResult<PathBuf> {
    let config = Home::of_process().config;
    let config = config
        .ok_or_else(|| CommandFailure::usage("HOME is not set: name the file with --out FILE"))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config)
        .map_err(|error| {
            CommandFailure::usage(format!(
                "can't make {}: {error}; name the file with --out FILE",
                config.display()
            ))
        })?;
    Ok(config.join("key.pem"))
}

fn print(key: &SshKey, path: &Path, terminal: &Terminal) -> CommandResult {
    let keyid = key.keyid();
    terminal.answer(
        json!({"keyid": keyid, "line": key.line(), "file": path.to_string_lossy()}),
        format!("{}\n{keyid}", PrintableText::text(key.line())),
    )
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_key_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        let key = generate(&path, "alice").expect("made");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("key.pub")).expect("read"),
            format!("{}\n", key.line())
        );
        let before = std::fs::read(&path).expect("read");
        assert!(generate(&path, "alice").is_err());
        assert_eq!(std::fs::read(&path).expect("read"), before);
        std::fs::remove_file(&path).expect("removed");
        assert!(
            generate(&path, "alice").is_err(),
            "a public half without its private one is not replaced either"
        );
        assert!(!path.exists());
    }
}
