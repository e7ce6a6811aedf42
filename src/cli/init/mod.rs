//! The `init` command makes the complete directory of a boundary.

pub mod content;

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{IsTerminal as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    FILE,
    node::{config::template, places::directory, rosters},
};
use client::{
    CommandFailure, CommandResult, Home, Terminal, fail_usage, own_program, read_bounded,
    write_secret_key,
};
use documents::{
    BoundaryName, MAX_KEY_FILE_BYTES, Name, SecretKey, SshKey, joined, public_key_line,
};
use reading::Policy;
use verdict::TrustedRoster;

/// Make the directory of a boundary: configuration, key, roster, policy, sample runbooks and a systemd unit.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign init boundary-1
  countersign init boundary-1 --yes --name prod --approver alice=alice.pub --approver bob=bob.pub
  countersign init node-1 --name prod --approver alice=alice.pub --node-key db-host-2=node-2.pub

Existing files are never overwritten.")]
pub struct Args {
    /// The directory to make
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// The name of the boundary, which every receipt contains. Without this option, the command asks for the name at a
    /// terminal
    #[arg(long)]
    name: Option<BoundaryName>,
    /// Do not ask. The name is the host name, unless --name is given
    #[arg(long)]
    yes: bool,
    /// The name of an approver and the file with the OpenSSH public key; may be repeated
    #[arg(long = "approver", value_name = "NAME=KEY.pub", value_parser = named_file)]
    approvers: Vec<(Name, PathBuf)>,
    /// The name of a further node of the boundary and the file with its public key, for the first roster; may be repeated
    #[arg(long = "node-key", value_name = "NAME=KEY.pub", value_parser = named_file)]
    node_keys: Vec<(Name, PathBuf)>,
}

fn named_file(text: &str) -> Result<(Name, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("write NAME=KEY.pub")?;
    Ok((
        name.parse::<Name>().map_err(|error| error.to_string())?,
        path.into(),
    ))
}

/// Makes the directory.
///
/// # Errors
/// Returns an error if a file that the command must create exists already, an approver's key cannot be used, or the
/// directory cannot be written.
pub fn run(args: &Args, terminal: &Terminal) -> CommandResult {
    let approvers = named_keys(&args.approvers)?;
    let nodes = named_keys(&args.node_keys)?;
    let name = name(args, terminal)?;
    let made = make(&args.dir, &name, &approvers, &nodes)?;
    terminal.answer(
        json!({"dir": args.dir.to_string_lossy(), "name": name, "files": made, "approvers": args.approvers.len()}),
        next(&args.dir, &name, &made, &approvers).trim_end(),
    )
}

fn named_keys(files: &[(Name, PathBuf)]) -> CommandResult<Vec<(Name, SshKey)>> {
    let keys = files
        .iter()
        .map(|(name, path)| Ok((name.clone(), public_key(path)?)));
    keys.collect()
}

fn public_key(path: &Path) -> CommandResult<SshKey> {
    let wrong = |why: String| CommandFailure::usage(format!("{}: {why}", path.display()));
    let bytes = read_bounded(path, MAX_KEY_FILE_BYTES)?;
    let line = public_key_line(&bytes).map_err(|why| wrong(why.to_string()))?;
    SshKey::parse(line).map_err(|error| {
        wrong(format!("{error}; give a file with one OpenSSH public key line (`countersign key show FILE` prints it)"))
    })
}

fn name(args: &Args, terminal: &Terminal) -> CommandResult<BoundaryName> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let own = own_name();
    if args.yes {
        return Ok(own);
    }
    if !std::io::stdin().is_terminal() {
        return fail_usage(
            "there is no terminal for the question: give --name NAME, or --yes to take the host name",
        );
    }
    let answer = terminal.ask(
        &format!("The boundary's name, which every receipt contains [{own}]:"),
        "give --name NAME",
    )?;
    if answer.is_empty() {
        Ok(own)
    } else {
        answer
            .parse::<BoundaryName>()
            .map_err(CommandFailure::usage)
    }
}

fn own_name() -> BoundaryName {
    let system = rustix::system::uname();
    let own = system.nodename().to_string_lossy().to_lowercase();
    let cut: String = own.chars().take(40).collect();
    #[expect(clippy::expect_used, reason = "the constant has the grammar of a name")]
    cut.parse()
        .unwrap_or_else(|_| "boundary".parse().expect("a name"))
}

/// Writes all files and returns their paths relative to `dir`. The roster contains the keys of the further `nodes`, each
/// with the name of the node as its comment.
///
/// # Errors
/// Returns an error, and writes nothing, if one of the files exists already.
pub fn make(
    dir: &Path,
    name: &BoundaryName,
    approvers: &[(Name, SshKey)],
    nodes: &[(Name, SshKey)],
) -> CommandResult<Vec<String>> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut *seed).map_err(CommandFailure::usage)?;
    let secret = SecretKey::from_seed(*seed);
    let remark = name.as_str().replace('/', "-");
    let own = (remark.as_str(), secret.public());
    let keys = std::iter::once(own)
        .chain(
            nodes
                .iter()
                .map(|(node, key)| (node.as_str(), *key.public())),
        )
        .map(|(comment, key)| SshKey::from_public(key, comment))
        .collect::<Result<Vec<_>, _>>()
        .map_err(CommandFailure::usage)?;
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let program = own_program().unwrap_or_else(|_| "/usr/local/bin/countersign".into());
    let required = people(approvers).len().clamp(1, MOST_REQUIRED);
    let policy = content::policy(required);
    let digest = Policy::load(&policy)
        .map(|policy| policy.digest())
        .map_err(|errors| CommandFailure::usage(joined(&errors, "; ")))?;
    let roster = content::roster(name, digest, &keys, approvers, required);
    // A key that is given twice makes no valid roster.
    let roster = TrustedRoster::from_tables(roster).map_err(CommandFailure::usage)?;
    let mut files: Vec<(String, u32, String)> = vec![
        (FILE.to_owned(), 0o600, template(name.as_str())),
        (
            "boundary/roster.d/next.json".to_owned(),
            0o644,
            rosters::pretty(roster.tables()),
        ),
        ("boundary/policy.yaml".to_owned(), 0o600, policy),
        (
            "countersign.service".to_owned(),
            0o644,
            content::unit(&absolute, &program),
        ),
        (
            "countersign-backup.service".to_owned(),
            0o644,
            content::backup_unit(&absolute, &program),
        ),
        (
            "countersign-backup.timer".to_owned(),
            0o644,
            content::BACKUP_TIMER.to_owned(),
        ),
    ];
    for (name, text) in content::RUNBOOKS {
        files.push((format!("runbooks/{name}"), 0o644, text.to_owned()));
    }
    let key_file = "boundary/key.pem".to_owned();
    let names = files.iter().map(|(name, _, _)| name).chain([&key_file]);
    let there = joined(
        names.filter(|name| dir.join(name).symlink_metadata().is_ok()),
        ", ",
    );
    if !there.is_empty() {
        return fail_usage(format!(
            "{there} already exists in {} and is not replaced: choose another directory",
            dir.display()
        ));
    }
    make_directory(dir, 0o755)?;
    make_directory(&dir.join("boundary"), 0o700)?;
    make_directory(&dir.join("boundary/roster.d"), 0o755)?;
    make_directory(&dir.join("runbooks"), 0o755)?;
    write_secret_key(&dir.join(&key_file), &secret).map_err(CommandFailure::usage)?;
    for (name, mode, text) in &files {
        write(&dir.join(name), *mode, text)?;
    }
    let mut made: Vec<String> = files.into_iter().map(|(name, _, _)| name).collect();
    made.insert(1, key_file);
    Ok(made)
}

fn make_directory(path: &Path, mode: u32) -> CommandResult<()> {
    directory(path, mode).map_err(CommandFailure::unable("make the directory", path))
}

fn write(path: &Path, mode: u32, text: &str) -> CommandResult<()> {
    let failed = CommandFailure::unable("write", path);
    let open = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file: File = open.map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Returns the next steps as a list of commands. Each command works without changes in the directory in which the user
/// called `init`.
fn next(dir: &Path, name: &BoundaryName, made: &[String], approvers: &[(Name, SshKey)]) -> String {
    let here = dir.display().to_string().escape_debug().to_string();
    let home = shell_word(&dir.to_string_lossy());
    let rosters = shell_word(&format!("{}/rosters", Home::of_process().config_words()));
    let file = format!("{}.json", name.as_str().replace('/', "-"));
    let mut text = format!("The boundary {name} is set up in {here}:\n");
    for file in made {
        text += &format!("  {file}\n");
    }
    text += "\nNext:\n";
    let mut number = 0;
    let mut step = |words: &str| {
        number += 1;
        text += &format!("  {number}. {words}\n");
    };
    if approvers.is_empty() {
        step(&format!(
            "Each approver makes a key on their own machine and sends you the line that it prints:\n       countersign key generate --comment NAME\n     Add each line to the roster, and raise its threshold from 0. The first start seals the roster. After the first \
             start, other\n     approvers must sign for each new approver:\n       countersign roster add approver NAME --group ops --config {home} --key 'ssh-ed25519 …'\n       \
             countersign roster set threshold 1 --config {home}"
        ));
    } else {
        step(&format!(
            "Check {here}/boundary/roster.d/next.json and policy.yaml: the first start seals both files. After the first \
             start, changes need signatures (`countersign roster`)."
        ));
    }
    step(&format!(
        "Check this host and the files:\n       countersign doctor {home}"
    ));
    step(&format!(
        "Serve, in another terminal or with {here}/countersign.service. The command prints the digest of the roster; \
         give the digest\n     to everyone who will verify receipts:\n       countersign serve {home}"
    ));
    step(&format!(
        "Give the roster to each approver and auditor. They compare the digest and save the file in \
         countersign/rosters/ of their\n     configuration directory, because nobody can sign or verify without the \
         roster. Your copy:\n       mkdir -p {rosters}\n       countersign roster show --config {home} --json > {rosters}/{file}"
    ));
    let (owner, advice) = match people(approvers).into_iter().nth(MOST_REQUIRED) {
        Some(owner) => (
            format!(" --owner {owner}"),
            format!(
                "The owner of the token, here {owner}, can't approve the \
                 proposals of the token"
            ),
        ),
        None => (
            String::new(),
            "With --owner NAME, a person of the roster becomes the owner of the token and can't\n     approve the \
             proposals of the token, so the roster needs one more approver than the quorum"
                .to_owned(),
        ),
    };
    step(&format!(
        "Make a token for an agent. {advice}:\n       countersign token create agent --config {home}{owner} --step 'host:*' --out agent.token"
    ));
    step(
        "The agent proposes:\n       COUNTERSIGN_TOKEN_FILE=agent.token countersign propose host:report --reason \"a first look\"",
    );
    step("Approvers review and sign, each with their own key:\n       countersign approve");
    text
}

/// Returns the approvers. Several keys of a person count as one.
fn people(approvers: &[(Name, SshKey)]) -> BTreeSet<&Name> {
    approvers.iter().map(|(name, _)| name).collect()
}

const MOST_REQUIRED: usize = 2;

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::{BoundaryFiles, Config};

    fn approvers(count: u8) -> Vec<(Name, SshKey)> {
        (0..count)
            .map(|at| {
                let key = SshKey::from_public(SecretKey::from_seed([at + 1; 32]).public(), "")
                    .expect("a key");
                (format!("person-{at}").parse().expect("a name"), key)
            })
            .collect()
    }

    #[test]
    fn the_files_that_init_writes_are_valid() {
        let node =
            SshKey::from_public(SecretKey::from_seed([90; 32]).public(), "x").expect("a key");
        for count in 0..3 {
            let dir = tempfile::tempdir().expect("a directory");
            let home = dir.path().join("a/b");
            let made = make(
                &home,
                &"prod/eu-1".parse().expect("a name"),
                &approvers(count),
                &[("db-2".parse().expect("a name"), node.clone())],
            )
            .expect("made");
            assert!(made.iter().all(|name| home.join(name).is_file()));
            let config = Config::load(&home.join(FILE)).expect("a configuration");
            let read = BoundaryFiles::read(&config);
            if count == 0 {
                let problems = read.expect_err("nobody can approve a run").to_string();
                assert!(
                    problems.contains("the roster has no approver")
                        && problems.lines().count() == 1,
                    "{problems}"
                );
                continue;
            }
            let files = read.unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(files.registry.steps().len(), content::RUNBOOKS.len());
            assert!(files.policy.is_ok());
            let first = rosters::first(&config, files.policy.as_ref().ok()).expect("a roster");
            let roster = first.last();
            assert_eq!(roster.tables().approvers.len(), usize::from(count));
            assert_eq!(roster.is_guarded(), count > 0);
            let mut boundaries = roster.tables().boundaries.values();
            let boundary = boundaries.next().expect("one boundary");
            assert!(
                boundary.keys.len() == 2 && boundary.keys[1].ends_with(" db-2"),
                "the roster has the key of the further node, too"
            );
            let mode =
                |name: &str| std::fs::metadata(home.join(name)).expect("there").mode() & 0o777;
            assert_eq!(
                (mode("boundary"), mode("boundary/key.pem"), mode(FILE)),
                (0o700, 0o600, 0o600)
            );
        }
    }

    #[test]
    fn init_overwrites_no_file_and_writes_all_files_or_none() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("runbooks")).expect("made");
        std::fs::write(dir.path().join("runbooks/host.md"), "mine").expect("written");
        let failure =
            make(dir.path(), &"a".parse().expect("a name"), &[], &[]).expect_err("refused");
        assert!(failure.message.contains("runbooks/host.md"), "{failure}");
        assert_eq!(
            std::fs::read_to_string(dir.path().join("runbooks/host.md")).expect("there"),
            "mine"
        );
        assert!(!dir.path().join(FILE).exists() && !dir.path().join("boundary").exists());
    }

    #[test]
    fn init_writes_nothing_if_two_names_have_one_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let people = approvers(1);
        let failure =
            make(dir.path(), &"a".parse().expect("a name"), &people, &people).expect_err("refused");
        assert!(failure.message.contains("this key"), "{failure}");
        assert!(!dir.path().join(FILE).exists() && !dir.path().join("boundary").exists());
    }

    #[test]
    fn the_first_token_is_owned_by_an_approver_whom_no_quorum_needs() {
        let text = |count: u8| {
            next(
                Path::new("a b"),
                &"prod".parse().expect("a name"),
                &[],
                &approvers(count),
            )
        };
        for count in 0..3 {
            assert!(
                text(count).contains("token create agent --config 'a b' --step"),
                "{}",
                text(count)
            );
        }
        assert!(
            text(3).contains("token create agent --config 'a b' --owner person-2 --step"),
            "{}",
            text(3)
        );
    }

    #[test]
    fn the_host_name_becomes_a_valid_boundary_name() {
        assert!(!own_name().as_str().is_empty());
    }
}
