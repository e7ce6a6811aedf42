//! The `output` command prints the output of a run.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Seek as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::SpooledTempFile;

use crate::{
    Client, CommandFailure, CommandResult, Exit, GlobalOptions, KeyArgs, LookupRange, OutputForm,
    PrintableText, RunPrinter, Terminal, fail_refused, find_proposal, print_hints,
    remote::{
        follow_run::follow,
        read_receipt::{explain_refusals, refusals_of_receipt, signed_receipt},
    },
    truncated_words,
};
use documents::{
    Blake3Digest, Blake3Stream, ContentDigest, Files, Manifest, ManifestEntry, Receipt, ReceiptId,
    Sha256Stream, StreamName,
};
use wire::{ProposalStatus, ProposalView, ReceiptFiles, ReceiptView};

/// Number of bytes of an output that are kept in memory. More bytes wait in a temporary file.
const KEPT_IN_MEMORY: usize = 4 << 20;
/// Number of bytes that are printed at once.
const PIECE: usize = 256 << 10;

/// Print the output of a run after a check against the digests in its receipt. With -f, print the output live, and
/// check it at the end.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  countersign output 4f2a9c            the standard output and the standard error
  countersign output 4f2a9c -f         live, while it runs
  countersign output 4f2a9c --files results   the files that the run left, in a new directory
  countersign output 4f2a9c --stderr   only the standard error of the run, on the standard error

This command does not check the signature of the receipt. Check it with `countersign verify` on the bundle.")]
pub struct Args {
    /// The id of the proposal or the receipt, or the last digits of the id (at least 6). The default is the only
    /// finished proposal
    #[arg(value_name = "ID")]
    proposal: Option<String>,
    /// Follow the run and print its output live
    #[arg(short, long)]
    follow: bool,
    /// Print only the standard output of the run
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Print only the standard error of the run
    #[arg(long)]
    stderr: bool,
    /// Write the files of the run into this new directory, and print nothing else
    #[arg(long, value_name = "DIR", conflicts_with_all = ["follow", "stdout", "stderr"])]
    files: Option<PathBuf>,
    #[command(flatten)]
    form: OutputForm,
    #[command(flatten)]
    key: KeyArgs,
}

/// Prints the output.
///
/// # Errors
/// Returns an error if there is no output, or if the output differs from the digests in the receipt.
pub fn run(args: &Args, global: &GlobalOptions, terminal: &Terminal) -> CommandResult {
    let mut client = global.client(&args.key)?;
    let only = if args.follow {
        ProposalStatus::Running
    } else {
        ProposalStatus::Finished
    };
    let seen = |client: &Client| {
        let id = find_proposal(client, args.proposal.as_deref(), LookupRange::Visible(only))?;
        let view: ProposalView = client.get(&format!("/v1/proposals/{id}"))?;
        Ok::<_, CommandFailure>((id, view))
    };
    let (id, view) = match seen(&client) {
        // The boundary shows an agent's token only the proposals of this agent. At the same terminal, a person can read
        // the other proposals with a key.
        Err(_) if args.proposal.is_some() && !client.token_reads_all() => {
            client = global.reviewer(&args.key, terminal)?;
            seen(&client)?
        }
        seen => seen?,
    };
    let mut sink = RunPrinter::new(terminal, args.form);
    if args.follow {
        let view = follow(&client, &id, &mut sink)?;
        explain_refusals(&client, &view, &sink.complaints, terminal)?;
        if let Some(receipt) = &view.receipt
            && !sink
                .has_printed(&receipt_of(&client.get(&format!("/v1/receipts/{receipt}"))?)?.output)
        {
            return Err(other_output());
        }
        return Ok(Exit::Done);
    }
    let Some(receipt) = &view.receipt else {
        let advice = if view.status == ProposalStatus::Running {
            "follow it with -f"
        } else {
            "there is no output"
        };
        return fail_refused(format!("{id} is {}: {advice}", view.status));
    };
    if let Some(directory) = &args.files {
        return write_files(&client, receipt, directory, terminal);
    }
    let receipt: ReceiptView = client.get(&format!("/v1/receipts/{receipt}"))?;
    let signed = receipt_of(&receipt)?;
    let written = &signed.output;
    if terminal.json {
        let mut object = json!({"proposal": id, "receipt": receipt.id, "output": written});
        let hints = refusals_of_receipt(&view, &signed, &sink.complaints);
        if !hints.is_empty() {
            object["hints"] = json!(hints);
        }
        terminal.object(&object)?;
        return Ok(Exit::Done);
    }
    for (name, stream, wanted) in [
        (StreamName::Stdout, &written.stdout, !args.stderr),
        (StreamName::Stderr, &written.stderr, !args.stdout),
    ] {
        if !wanted || stream.recorded == 0 {
            continue;
        }
        // Nothing is printed before the digests are known. Large output waits in a temporary file without a name.
        let mut kept = HashingWriter::new(SpooledTempFile::new(KEPT_IN_MEMORY));
        client.copy(
            &format!("/v1/outputs/{}", stream.blake3),
            stream.recorded,
            &mut kept,
        )?;
        if !kept.is(&stream.blake3, &stream.sha256) {
            return Err(other_output());
        }
        kept.to.rewind()?;
        let mut pieces = BufReader::with_capacity(PIECE, kept.to);
        loop {
            let piece = pieces.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            sink.output(name, piece)?;
            let read = piece.len();
            pieces.consume(read);
        }
        if stream.truncated {
            terminal.say(truncated_words(name, stream.bytes, stream.recorded));
        }
    }
    sink.end()?;
    print_hints(
        &refusals_of_receipt(&view, &signed, &sink.complaints),
        terminal,
    )?;
    Ok(Exit::Done)
}

/// Writes the files of a run into a new directory, after a check against the digests in the receipt.
fn write_files(
    client: &Client,
    id: &ReceiptId,
    directory: &Path,
    terminal: &Terminal,
) -> CommandResult {
    let signed = receipt_of(&client.get(&format!("/v1/receipts/{id}"))?)?;
    let ReceiptFiles { files, outputs, .. } = client.get(&format!("/v1/receipts/{id}/files"))?;
    check_manifest(&signed, &files)?;
    std::fs::create_dir(directory).map_err(CommandFailure::unable("write", directory))?;
    for entry in &files {
        let path = directory.join(entry.path.as_str());
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent).map_err(CommandFailure::unable("write", parent))?;
        let mode = if entry.executable { 0o755 } else { 0o644 };
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path);
        let mut file = HashingWriter::new(file.map_err(CommandFailure::unable("write", &path))?);
        if entry.bytes > 0 {
            client.copy(
                &format!("/v1/outputs/{}", entry.blake3),
                entry.bytes,
                &mut file,
            )?;
        }
        if !file.is(&entry.blake3, &entry.sha256) {
            let _ = std::fs::remove_file(&path);
            return Err(other_bytes());
        }
    }
    if terminal.json {
        terminal.object(json!({"receipt": id, "files": files, "outputs": outputs}))?;
    } else {
        for entry in &files {
            terminal.line(PrintableText::text(entry.path.as_str()))?;
        }
    }
    Ok(Exit::Done)
}

/// Checks that the files are the files of the receipt.
fn check_manifest(signed: &Receipt, files: &[ManifestEntry]) -> CommandResult<()> {
    let same = match files {
        [] => signed.files == Files::none(),
        files => Files::of(&Manifest(files.to_vec())).is_ok_and(|found| found == signed.files),
    };
    if same { Ok(()) } else { Err(other_bytes()) }
}

fn other_bytes() -> CommandFailure {
    CommandFailure::check_said_no(
        "the files from the boundary do not match the digests in the receipt: don't use the files",
    )
}

/// Reads the statement of a receipt, without a check of its signature.
fn receipt_of(view: &ReceiptView) -> CommandResult<Receipt> {
    signed_receipt(&view.envelope).map(|(receipt, _)| receipt)
}

/// A sink that hashes what it gets.
pub struct HashingWriter<W> {
    to: W,
    blake3: Blake3Stream,
    /// The SHA-256 of what the sink got.
    pub sha256: Sha256Stream,
}

impl<W> HashingWriter<W> {
    /// Returns a sink that passes all on to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            blake3: Blake3Stream::default(),
            sha256: Sha256Stream::default(),
        }
    }

    fn is(&self, blake3: &Blake3Digest, sha256: &ContentDigest) -> bool {
        self.blake3.finish() == *blake3 && self.sha256.clone().finish() == *sha256.as_bytes()
    }
}

impl<W: io::Write> io::Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.blake3.update(&bytes[..written]);
        self.sha256.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn other_output() -> CommandFailure {
    CommandFailure::check_said_no(
        "the output from the boundary does not match the digests in the receipt: don't use the output",
    )
}
