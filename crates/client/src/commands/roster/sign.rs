//! The `roster sign` command signs the next version of the roster, and `roster merge` collects its signatures.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, LineTone, PATIENCE, PrintableText,
    Screen, SignaturePurpose, Signer, Terminal, TrustArgs, changes,
    commands::roster::change::{
        ProposedRoster, ShownPolicy, changed_steps, differences, read_version, review,
        sealed_policy,
    },
    fail_refused, fail_usage, find_with_list,
    home::keys,
    read_bounded, write_new,
};
use documents::{Envelope, EnvelopeSignature, MAX_SIGNATURES, Name, RosterDigest, SshKey, joined};
use reading::{Policy, file};
use verdict::{SuccessionTallies, ThresholdTally, TrustedRoster, version_file};

/// The commands that sign the next version of a roster.
#[derive(clap::Subcommand)]
pub enum SigningCommand {
    /// Show the changes from the version in force, ask, and sign a next version
    Sign(SignArgs),
    /// Collect the signatures of one version from several files into the first file
    Merge(MergeArgs),
}

impl SigningCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Returns the reason why the roster was not signed or merged.
    pub fn run(&self, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
        match self {
            Self::Sign(args) => run(args, global, terminal),
            Self::Merge(args) => merge(args, terminal),
        }
    }
}

/// Shows the next roster version, asks the person, and adds a signature.
///
/// # Errors
/// Returns an error if no trusted roster is connected with this version, the key belongs to no approver, or the
/// person declines.
fn run(args: &SignArgs, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let trust = find_with_list(&global.trust(&args.trust))?;
    let proposed = ProposedRoster::read(&args.file, &args.earlier, &trust)?;
    let (before, next) = (&proposed.before, &proposed.next);
    let policy = shown_policy(args, global, &proposed)?;
    let trusted_by = proposed.trusted_by(&trust);
    let standing =
        SuccessionTallies::of(before, next, &proposed.envelope.signatures).map_err(|error| {
            CommandFailure::refused(format!(
                "{error}; `countersign roster merge {}` leaves out signatures that do not count",
                proposed.file.display()
            ))
        })?;
    // Without trust in the version before, a difference from that version proves nothing.
    let mut screen = review(before, next, &policy, args.full || trusted_by.is_err());
    screen.heading("Signatures");
    tallies(&mut screen, &standing);
    screen.heading("Summary");
    match &trusted_by {
        Ok(words) => screen.field("trusted by", words),
        Err(_) => screen.field_in(
            LineTone::Bad,
            "trusted by",
            "NOTHING: no roster that you trust leads to this roster",
        ),
    }
    if !proposed.is_whole() {
        screen.say(
            LineTone::Plain,
            "Not checked: the reuse of a key of an earlier version (some earlier versions were not found).",
        );
    }
    screen.field("digest", next.digest().to_string());
    match args.output.as_deref() {
        _ if terminal.json && args.review => terminal.object(told(&proposed, &standing))?,
        _ if terminal.json => {}
        Some(output) if output == Path::new("-") => terminal.show_aside(&screen),
        _ => terminal.show(&screen)?,
    }
    if args.review {
        return trusted_by.map(|_| Exit::Done);
    }
    let _trusted = trusted_by?;
    if let Some(expected) = args.expect
        && expected != next.digest()
    {
        return fail_refused(format!(
            "nothing was signed: --expect names {expected}, but the digest of this roster is {}",
            next.digest()
        ));
    }
    let keys = args.key.find()?;
    let person = |key: &SshKey| {
        let keyid = key.keyid();
        before
            .approver_of(&keyid)
            .or_else(|| next.approver_of(&keyid))
    };
    // A person may have an old and a new key, so prefer a key whose signature is still missing.
    let needed = keys.first(|key| standing.lacks(before, next, &key.keyid()));
    let signer = needed.map_or_else(|| keys.preferred(|key| person(key).is_some()), Ok)?;
    let keyid = signer.key().keyid();
    let (approver, _) = person(signer.key()).ok_or_else(|| {
        CommandFailure::refused(format!(
                "nothing was signed: {keyid} is no approver's key in version {} or {}; name your key with --key FILE",
                before.version(),
                next.version()
            ),
        )
    })?;
    let name = &approver.name;
    if !standing.lacks(before, next, &keyid) {
        terminal.say(format!(
            "{name} has signed this version already: nothing to do"
        ));
        return done(args, &proposed, proposed.envelope.clone(), name, terminal);
    }
    let consent = if args.yes {
        Consent(())
    } else {
        ask(&proposed, name, terminal)?
    };
    let signature = sign(&proposed, consent, signer)?;
    let mut signatures = match &args.output {
        // Another person may have signed the same file in the meantime.
        None if proposed.file.exists() => {
            let (there, roster, _) = read_version(&proposed.file)?;
            if roster.digest() != next.digest() {
                return fail_refused(format!(
                    "nothing was written: {} now contains another version, so review the file again",
                    proposed.file.display()
                ));
            }
            there.signatures
        }
        _ => proposed.envelope.signatures.clone(),
    };
    let fallen = SuccessionTallies::join(before, next, &mut signatures, signature)
        .map_err(|error| CommandFailure::refused(format!("nothing was written: {error}")))?;
    for other in fallen {
        terminal.say(format!(
            "left out: the signature of {}, which is not needed in addition to the signature of \
             {keyid}",
            other.keyid
        ));
    }
    signatures.sort();
    if signatures.len() > MAX_SIGNATURES {
        return fail_refused(format!(
            "nothing was written: the envelope already has {MAX_SIGNATURES} signatures, which is the limit"
        ));
    }
    let signed = Envelope::new(next.payload(), signatures);
    done(args, &proposed, signed, name, terminal)
}

/// Proof that a person agreed to the digest that was shown, or that `--yes --expect` named this digest.
struct Consent(());

/// Number of hex digits of the digest that a person must type. Eight digits force the person to look at the end of
/// the review.
const DIGITS: usize = 8;

fn ask(proposed: &ProposedRoster, name: &Name, terminal: &Terminal) -> CommandResult<Consent> {
    let hex = proposed.next.digest().hex();
    let end = &hex[hex.len() - DIGITS..];
    let answer = terminal.ask(
        &format!(
            "To sign this roster as {name}, type {end}, the end of the digest; anything else stops:"
        ),
        "without a terminal, give --yes --expect sha256:...",
    )?;
    if answer.eq_ignore_ascii_case(end) {
        Ok(Consent(()))
    } else {
        fail_refused("nothing was signed: the typed text is not the end of the digest")
    }
}

/// Signs the same buffer that was shown.
fn sign(
    proposed: &ProposedRoster,
    consent: Consent,
    signer: &dyn Signer,
) -> CommandResult<EnvelopeSignature> {
    let Consent(()) = consent;
    keys::sign(signer, SignaturePurpose::Roster, proposed.next.payload())
}

fn done(
    args: &SignArgs,
    proposed: &ProposedRoster,
    signed: Envelope,
    name: &Name,
    terminal: &Terminal,
) -> CommandResult {
    let standing = SuccessionTallies::of(&proposed.before, &proposed.next, &signed.signatures)
        .map_err(CommandFailure::unreachable)?;
    match &args.output {
        Some(path) => {
            let mut bytes = signed.to_canonical().map_err(CommandFailure::unreachable)?;
            bytes.push(b'\n');
            write_new(path, &bytes, terminal)?;
        }
        None => put(&proposed.file, &signed)?,
    }
    let at = args.output.as_deref().unwrap_or(&proposed.file);
    if at != Path::new("-") {
        if terminal.json {
            let mut told = told(proposed, &standing);
            told["signed_by"] = json!(name);
            told["file"] = json!(at.to_string_lossy());
            terminal.object(&told)?;
        }
        let place = PrintableText::file(at);
        terminal.say(format!("signed by {name}: {place}"));
        say_standing(&standing, terminal);
    }
    Ok(Exit::Done)
}

/// Merges all valid signatures of several files into one file.
///
/// # Errors
/// Returns an error if a file contains another roster version, or if a file cannot be read or written.
fn merge(args: &MergeArgs, terminal: &Terminal) -> CommandResult {
    let proposed = ProposedRoster::read(&args.file, &args.earlier, &[])?;
    let (before, next) = (&proposed.before, &proposed.next);
    let mut signatures: Vec<EnvelopeSignature> = Vec::new();
    let mut left_out = Vec::new();
    let others = args
        .others
        .iter()
        .map(|path| read_version(path).map(|(envelope, roster, _)| (path, envelope, roster)));
    let own = Ok((&args.file, proposed.envelope.clone(), next.clone()));
    for source in std::iter::once(own).chain(others) {
        let (path, envelope, roster) = source?;
        let place = PrintableText::file(path);
        if roster.digest() != next.digest() {
            return fail_usage(format!(
                "{place} is {} (version {}), but {} is {}: nothing was changed, because a signature counts only for its \
                 own version",
                roster.digest(),
                roster.version(),
                args.file.display(),
                next.digest()
            ));
        }
        for signature in envelope.signatures {
            if signatures
                .iter()
                .any(|known| known.keyid == signature.keyid)
            {
                continue;
            }
            // Leave out invalid signatures, because one invalid signature makes the boundary refuse the whole version.
            let keyid = signature.keyid;
            match SuccessionTallies::join(before, next, &mut signatures, signature) {
                Ok(fallen) => left_out.extend(fallen.iter().map(|other| {
                    format!(
                        "the signature of {}, which is not needed in addition to the \
                         signature of {keyid}",
                        other.keyid
                    )
                })),
                Err(error) => left_out.push(format!("{place}: {error}")),
            }
        }
    }
    if signatures.len() > MAX_SIGNATURES {
        return fail_usage(format!(
            "nothing was changed: an envelope has at most {MAX_SIGNATURES} signatures, and these files have {}: \
             merge fewer files",
            signatures.len()
        ));
    }
    signatures.sort();
    let merged = Envelope::new(next.payload(), signatures);
    put(&proposed.file, &merged)?;
    let standing = SuccessionTallies::of(before, next, &merged.signatures)
        .map_err(CommandFailure::unreachable)?;
    if terminal.json {
        let mut told = told(&proposed, &standing);
        told["left_out"] = json!(left_out);
        told["file"] = json!(proposed.file.to_string_lossy());
        terminal.object(&told)?;
    }
    for line in &left_out {
        terminal.say(format!("left out: {line}"));
    }
    say_standing(&standing, terminal);
    Ok(Exit::Done)
}

fn put(path: &Path, envelope: &Envelope) -> CommandResult<()> {
    version_file::write(path, envelope)
        .map(drop)
        .map_err(|why| CommandFailure::usage(format!("{}: {why}", PrintableText::file(path))))
}

/// Prints the signatures that a version still needs.
pub fn say_standing(standing: &SuccessionTallies, terminal: &Terminal) {
    for tally in [&standing.of_before, &standing.of_next] {
        terminal.say(tally.to_string());
    }
    terminal.say(if standing.is_complete() {
        "the signatures are complete: `countersign seal` at the boundary puts this version in force. For a version without the \
         key that the service uses, first set `key` in countersign.toml, and restart the service"
    } else {
        "until enough approvers have signed, the sealed roster stays in force"
    });
}

fn tallies(screen: &mut Screen, standing: &SuccessionTallies) {
    for tally in [&standing.of_before, &standing.of_next] {
        let tone = if tally.missing() == 0 {
            LineTone::Good
        } else {
            LineTone::Plain
        };
        screen.say(tone, &tally.to_string());
    }
}

/// Returns the version, its changes and its missing signatures as JSON.
pub fn told(proposed: &ProposedRoster, standing: &SuccessionTallies) -> serde_json::Value {
    let (before, next) = (&proposed.before, &proposed.next);
    let tally = |tally: &ThresholdTally| {
        json!({"version": tally.version, "required": tally.required, "signed": tally.signed, "missing": tally.missing(),
               "could": tally.could})
    };
    json!({
        "version": next.version(),
        "digest": next.digest(),
        "previous": before.digest(),
        "policy": {"digest": next.policy(), "changed": before.policy() != next.policy()},
        "guarded": next.is_guarded(),
        "changes": changes(before.tables(), next.tables()),
        "signatures": [tally(&standing.of_before), tally(&standing.of_next)],
        "complete": standing.is_complete(),
    })
}

/// Reads the new policy, and compares it with the policy of the version before.
fn shown_policy(
    args: &SignArgs,
    global: &GlobalOptions,
    ProposedRoster { before, next, .. }: &ProposedRoster,
) -> CommandResult<ShownPolicy> {
    let Some(path) = &args.policy else {
        return Ok(ShownPolicy::default());
    };
    let (new, text) = read_policy(path, next)?;
    if before.policy() == next.policy() {
        return Ok(ShownPolicy {
            text,
            ..ShownPolicy::default()
        });
    }
    let client = GlobalOptions {
        patience: Some(PATIENCE),
        ..global.clone()
    }
    .client(&args.key);
    let client = client.as_ref().map_err(ToString::to_string);
    let old = match &args.policy_before {
        Some(path) => Ok(read_policy(path, before)?.0),
        None => client
            .clone()
            .and_then(|client| sealed_policy(client, before.policy())),
    };
    Ok(match old {
        Err(why) => {
            let sentence = format!(
                "The whole policy is shown, because the policy of the version before was not found: {why}. Give that policy \
                 with --policy-before FILE, or name the boundary with --boundary or --url."
            );
            ShownPolicy {
                sentence,
                text,
                ..ShownPolicy::default()
            }
        }
        Ok(old) => {
            let steps = client.and_then(|client| changed_steps(client, &old, &new));
            let sentence = steps.unwrap_or_else(|why| {
                format!("The steps whose verdict changes were not counted: {why}")
            });
            ShownPolicy {
                differences: differences(&old, &new),
                sentence,
                text,
            }
        }
    })
}

/// Reads a policy file and checks that this version of the roster names the digest of the policy.
fn read_policy(path: &Path, roster: &TrustedRoster) -> CommandResult<(Policy, String)> {
    let place = PrintableText::file(path).as_str().to_owned();
    let bytes = read_bounded(path, file::MAX_FILE_BYTES)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| CommandFailure::usage(format!("{place} is not UTF-8: save it as UTF-8")))?;
    let policy = Policy::load(&text)
        .map_err(|errors| CommandFailure::usage(format!("{place}: {}", joined(&errors, "; "))))?;
    if policy.digest() != roster.policy() {
        return fail_refused(format!(
            "{place} is the policy {}, but version {} of the roster names the policy {}",
            policy.digest(),
            roster.version(),
            roster.policy()
        ));
    }
    Ok((policy, text))
}

/// Options of `roster sign`.
#[derive(clap::Args)]
pub struct SignArgs {
    /// The file of the new roster version, or its draft `next.json`. The signature to a draft is written to VERSION.json in the
    /// same directory. The command searches for earlier versions there
    file: PathBuf,
    /// Write the file with your signature to this new file, and do not change FILE
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A file of an earlier roster version, if it is not in the directory of the new version; may be repeated
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
    /// The policy file whose digest this roster version names; the review then shows how the policy changes
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The policy file of the version before. The default is to ask the boundary (--boundary, --url). Without this policy,
    /// the review shows the whole new policy
    #[arg(long, value_name = "FILE", requires = "policy")]
    policy_before: Option<PathBuf>,
    /// Show the whole version and the whole policy, not only the changes
    #[arg(long)]
    full: bool,
    /// Only show the review
    #[arg(long, conflicts_with_all = ["yes", "output"])]
    review: bool,
    /// Do not ask; requires --expect
    #[arg(long, requires = "expect")]
    yes: bool,
    /// The digest that the statement must have. If the statement has another digest, nothing is signed
    #[arg(long, value_name = "sha256:…")]
    expect: Option<RosterDigest>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `roster merge`.
#[derive(clap::Args)]
pub struct MergeArgs {
    /// The file of the roster version, to which the signatures are added. For a draft, this is `VERSION.json` beside it
    file: PathBuf,
    /// Files of the same roster version with other signatures
    #[arg(value_name = "OTHER")]
    others: Vec<PathBuf>,
    /// A file of an earlier roster version, if it is not in the directory of the new version; may be repeated
    #[arg(long, value_name = "FILE")]
    earlier: Vec<PathBuf>,
}
