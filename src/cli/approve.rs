//! `approve`: shows the review, asks, then signs exactly the bytes shown.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::boundary::view::{ProposalStatus, ProposalView, RefusalView};
use crate::cli::Global;
use crate::cli::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::held_up_words;
use crate::cli::keys::{self, KeyArgs};
use crate::cli::review::gather::{Subject, status_word};
use crate::cli::review::{Review, Sound, now, show};
use crate::cli::talk::{Talk, write_new};
use crate::cli::trust::TrustArgs;
use crate::crypto::digest::AuthorizationDigest;
use crate::crypto::signature::PAYLOAD_TYPE;
use crate::http::api::Signatures;
use crate::record::envelope::Envelope;
use crate::record::ident::Name;

/// Show the same as `review`, ask, then sign exactly the bytes shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  countersign approve                                   the only pending proposal
  countersign approve 4f2a9c --key ~/.ssh/id_ed25519    with an ssh key
  countersign approve statement.json -o signed.json     without handing it in
  countersign approve 4f2a9c --yes --expect sha256:…    unattended, exactly this statement

It refuses (exit 126) when anything that this program derives differs from what would be signed, and (exit 2) when
you trust no roster for the boundary.")]
pub struct Args {
    /// A proposal's id; or at least 6 of the last digits of an open one's; or an envelope's file, as ./NAME or *.json; nothing
    /// means the only pending proposal
    #[arg(value_name = "ID|FILE")]
    proposal: Option<String>,
    /// For a file: write the envelope with your signature added here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do not ask; only with --expect
    #[arg(long, requires = "expect")]
    yes: bool,
    /// The digest that the statement must have
    #[arg(long, value_name = "sha256:…")]
    expect: Option<AuthorizationDigest>,
    #[command(flatten)]
    trust: TrustArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// Reviews, asks and signs.
///
/// # Errors
/// When it does not hold, the person said no, or the boundary refused the signature.
pub fn run(args: &Args, global: &Global, talk: &Talk) -> Result<Exit, Failure> {
    let client = global.reviewer(&args.key, talk)?;
    let keys = args.key.find()?;
    let subject = Subject::find(args.proposal.as_deref(), &client)?;
    if matches!(subject, Subject::File(_)) && args.output.is_none() {
        return Err(Failure::usage("say where the signed envelope goes: -o FILE (- is the standard output)"));
    }
    if matches!(subject, Subject::Proposal(_)) && args.output.is_some() {
        return Err(Failure::usage("-o is for files: a signature for a proposal goes to the boundary"));
    }
    let review = Review::make(&subject, &client, &args.trust, &keys, now())?;
    // `approve FILE -o -` keeps the standard output for the envelope.
    if args.output.as_deref() == Some(std::path::Path::new("-")) {
        talk.show_aside(&review.screen);
    } else {
        show(&review, talk)?;
    }
    let sound = review.check_sound()?;
    if let Some(expected) = args.expect
        && expected != review.found.digest
    {
        return Err(Failure::new(
            Exit::Refused,
            format!("nothing was signed: expected {expected}, this is {}", review.found.digest),
        ));
    }
    let roster = review.sources.roster.trusted();
    let signer = keys.preferred(|key| roster.is_some_and(|roster| roster.approver_of(&key.keyid()).is_some()))?;
    let keyid = signer.key().keyid();
    let approver = roster
        .and_then(|roster| roster.approver_of(&keyid))
        .map(|(approver, _)| approver.name.clone())
        .ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                format!("nothing was signed: {keyid} is no approver's key in the roster; name yours with --key FILE"),
            )
        })?;
    let consent = if args.yes { Consent(sound) } else { ask(&review, sound, &approver, talk)? };
    let signature = sign(&review, consent, signer)?;
    match subject {
        Subject::File(envelope) => {
            let mut signatures: Vec<_> = envelope.signatures.into_iter().filter(|other| other.keyid != keyid).collect();
            signatures.push(signature);
            signatures.sort();
            let signed = Envelope::new(&review.sources.payload, signatures);
            let mut bytes =
                serde_json::to_vec(&signed).map_err(|error| Failure::new(Exit::Unreachable, error.to_string()))?;
            bytes.push(b'\n');
            if let Some(path) = &args.output {
                write_new(path, &bytes, talk)?;
                if path != std::path::Path::new("-") {
                    if talk.json {
                        talk.object(
                            &json!({"digest": review.found.digest, "keyid": keyid, "approver": approver, "file": path.to_string_lossy()}),
                        )?;
                    }
                    talk.say(&format!(
                        "signed by {approver}; hand it to the next approver, or in: countersign submit {}",
                        path.display()
                    ));
                }
            }
        }
        Subject::Proposal(view) => {
            let mut answer: ProposalView = client
                .post(&format!("/v1/proposals/{}/signatures", view.id), &Signatures { signatures: vec![signature] })?;
            answer.held_up = held_up_at_once(&client, &answer);
            if talk.json {
                talk.object(&answer)?;
            } else {
                talk.line(&format!("signed by {approver}: {} is {}", answer.id, status_word(answer.status)))?;
                let missing: Vec<_> = answer.approvals.missing.iter().map(|group| group.as_str()).collect();
                if !missing.is_empty() {
                    talk.say(&format!("still needed: somebody of {}", missing.join(", somebody of ")));
                }
                if let Some(why) = &answer.held_up {
                    talk.say(&held_up_words(why));
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// What holds up the run that this signature approved, where the boundary says so within [`AT_ONCE`]. Most runs have begun by then.
fn held_up_at_once(client: &Client, signed: &ProposalView) -> Option<RefusalView> {
    let deadline = Instant::now() + AT_ONCE;
    let mut held_up = None;
    let mut status = signed.status;
    while status == ProposalStatus::Approved && held_up.is_none() && Instant::now() < deadline {
        std::thread::sleep(AT_ONCE / 20);
        // The signature is taken, whatever becomes of the question.
        let view = client.get::<ProposalView>(&format!("/v1/proposals/{}", signed.id)).ok()?;
        (status, held_up) = (view.status, view.held_up);
    }
    held_up
}

/// How long is asked whether what was approved begins.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A person, or `--yes --expect`, agreed to the digest that was shown.
struct Consent(Sound);

/// How many digits of the digest are typed: enough that nobody types them without looking at the end of the review.
const DIGITS: usize = 8;

fn ask(review: &Review, sound: Sound, approver: &Name, talk: &Talk) -> Result<Consent, Failure> {
    let hex = review.found.digest.hex();
    let tail = &hex[hex.len() - DIGITS..];
    let answer = talk.ask(
        &format!("To sign this as {approver}, type the last {DIGITS} digits of the digest; anything else stops:"),
        "unattended it takes --yes --expect sha256:…",
    )?;
    if answer.eq_ignore_ascii_case(tail) {
        Ok(Consent(sound))
    } else {
        Err(Failure::new(Exit::Refused, "nothing was signed: that is not the end of the digest"))
    }
}

/// Signs the one buffer that was derived from and shown.
fn sign(
    review: &Review,
    consent: Consent,
    signer: &dyn crate::trust::signer::Signer,
) -> Result<crate::record::envelope::EnvelopeSignature, Failure> {
    let Consent(_sound) = consent;
    keys::sign(signer, PAYLOAD_TYPE, &review.sources.payload)
}

/// What `approve --yes` does after its checks, for the tests of the review.
#[cfg(test)]
pub(super) fn sign_reviewed(
    review: &Review,
    sound: Sound,
    signer: &dyn crate::trust::signer::Signer,
) -> Result<crate::record::envelope::EnvelopeSignature, Failure> {
    sign(review, Consent(sound), signer)
}
