//! The protocol between the service, the helper and the first process of a run (init).
//!
//! For each run, the service sends one packet with descriptors to the helper. On a stream socket, the service sends to
//! init a length-prefixed JSON request, the texts of the run (`RunTexts`), the inputs, the work directory of the session,
//! and then single-byte commands. Init answers with length-prefixed messages.
//!
//! The protocol has no version, because all processes run the same binary. A message with an unknown field is refused.
//!
//! This file also defines the packet that starts a run, and the inputs and the session of a request.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    Controllers, ExecutableFiles, FileId, SetupFailure,
    isolation::planned_secret::MAX_SECRETS_BYTES,
};
use documents::{
    ArtifactName, ContentDigest, MAX_FILES_BYTES, NetworkMode, Profile, SecretName, SecretValue,
    StepFile, Workdir,
};

/// The first argument of the binary that starts the helper.
pub const LAUNCH: &str = "__launch";

/// Command to end the step with SIGTERM.
pub const TERMINATE: u8 = b'T';
/// Command to kill the whole run.
pub const KILL: u8 = b'K';

/// Maximum size of the script, and of the parameters, in bytes, because a first process holds both in memory.
pub const MAX_TEXT: u64 = 1 << 20;
/// Maximum size of a request without the texts that follow it, in bytes. The entries of the files of a step need at most
/// 300 KiB of it.
const MAX_REQUEST: u32 = 1 << 20;
/// Maximum size of a message to the service, in bytes.
const MAX_MESSAGE: u32 = 16 << 10;

/// The form in which a run is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum RunForm {
    /// Namespaces and a separate root file system for the run.
    Namespaces,
    /// The run uses the host's root file system. A subreaper ends all processes of the run.
    Host,
    /// Starts no step. Kills the processes that remain after the first process of a run on the host's root file system
    /// was killed.
    Sweep,
}

/// The kinds of sockets that a system-call filter allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Sockets {
    /// Unix sockets, and TCP and UDP over IPv4 and IPv6. The network namespace limits their destinations.
    Inet,
    /// Unix sockets only, because no network namespace isolates the run.
    Unix,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyscallFilter {
    pub sockets: Sockets,
    pub ground: HostSharing,
    pub code: CodeInMemory,
}

/// The memory from which a run can execute code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeInMemory {
    /// All memory.
    All,
    /// All memory except files that exist only in memory, because Landlock can't restrict their execution. Just-in-time
    /// compilers work.
    NoFiles,
    /// Only memory that maps an executable file. Otherwise the dynamic loader could build a program from a data file.
    MappedFiles,
}

/// Resources of the host that a run can reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostSharing {
    /// No resource of the host.
    Own,
    /// Files that the run creates in a live tree. They must not be setuid or setgid.
    LiveTree,
    /// Files, other processes of the same user id, and shared objects with a key or a name (System V IPC, message
    /// queues).
    Host,
}

impl SyscallFilter {
    /// Returns the filter for a run with this form and this profile.
    pub fn of(form: RunForm, profile: &Profile) -> Self {
        let behind_a_namespace =
            form == RunForm::Namespaces || profile.network.mode == NetworkMode::Host;
        Self {
            sockets: if behind_a_namespace {
                Sockets::Inet
            } else {
                Sockets::Unix
            },
            ground: match (form, profile.workdir) {
                (RunForm::Namespaces, Workdir::InPlace) => HostSharing::LiveTree,
                (RunForm::Namespaces, _) => HostSharing::Own,
                (RunForm::Host | RunForm::Sweep, _) => HostSharing::Host,
            },
            code: CodeInMemory::All,
        }
    }
}

/// The uid and gid of a run's processes on the host.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostId {
    pub uid: u32,
    pub gid: u32,
}

/// Request for one run, which the service sends to the first process.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    pub form: RunForm,
    pub landlock: bool,
    /// System-call filter, or `None` if the profile does not require one.
    pub filter: Option<SyscallFilter>,
    /// The run's own user id, or `None` if the service can't assign an id.
    pub own_id: Option<u32>,
    pub interpreter: String,
    pub env: Vec<(String, String)>,
    /// The signed profile.
    pub profile: Profile,
    /// The only files that the run may execute, or `None` if the run may execute every file that it can read.
    pub programs: Option<ExecutableFiles>,
    /// True if the service records the programs that the run executes.
    pub record: bool,
    /// The limits that the run's control group enforces.
    pub group: Controllers,
    /// The run's private directory on the host, used only with [`RunForm::Host`].
    pub run_dir: Option<String>,
    pub source_bytes: u64,
    pub params_bytes: u64,
    /// The files of the step. Their contents follow the parameters.
    pub files: Vec<StepFile>,
    /// True if the directory for temporary files has links to the files of the step.
    pub files_in_tmp: bool,
    /// The inputs. Their contents follow the texts.
    pub inputs: Vec<InputEntry>,
    /// True if the service captures the files and outputs of the run.
    pub results: bool,
    pub session: Option<SessionRequest>,
    /// The secrets of the run. Their values follow the files.
    pub secrets: Vec<SecretEntry>,
}

impl RunRequest {
    /// Returns the sizes of the texts that follow this request, in their order.
    fn sizes(&self) -> impl Iterator<Item = u64> + '_ {
        let first = [
            self.source_bytes,
            self.params_bytes,
            self.session.as_ref().map_or(0, |session| session.env_bytes),
            self.wrapper().map_or(0, |wrapper| wrapper.bytes),
        ];
        let files = self.files.iter().map(|file| file.bytes);
        first.into_iter().chain(files)
    }

    /// Returns the wrapper of the session.
    pub fn wrapper(&self) -> Option<&WrapperRequest> {
        self.session.as_ref()?.wrapper.as_ref()
    }
}

/// A secret in a request, without its value.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretEntry {
    pub name: SecretName,
    pub bytes: u64,
    pub as_file: bool,
    pub variable: Option<String>,
}

/// Texts of a run, which follow its request.
#[derive(Debug, Default, PartialEq)]
pub struct RunTexts {
    pub source: Vec<u8>,
    pub params: Vec<u8>,
    /// The variables of the session as `NAME=VALUE`, each with a NUL byte at its end.
    pub session_env: Vec<u8>,
    /// Content of the wrapper of the session.
    pub wrapper: Vec<u8>,
    /// Contents of the files of the request, in the same order.
    pub files: Vec<Vec<u8>>,
    /// Values of the secrets of the request, in the same order.
    pub secrets: Vec<SecretValue>,
}

/// Reports of the helper, of init and of the step's process, in the order of sending. `Listening` is sent only if the
/// network mode is an allow list, `Announcing` only if the programs of the run are recorded, `Results` and `Work` only if
/// the request asks for them, and `Ended` only if the step ended. `Failed` replaces `Started` if the step could not be started.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum HelperMessage {
    /// The first process of the run exists. A pidfd of the process is attached.
    Cloned,
    /// The run listens on its own loopback for the next host of its list. The listener is attached.
    Listening,
    /// The run's processes announce each program before the kernel executes the program. The listener is attached.
    Announcing(AnnouncedPrograms),
    /// The directory with the results of the run is attached.
    Results,
    /// The private work directory of a run with a session is attached. The numbers name the step's files that were
    /// created in this directory: 0 for the script, 1 for the first file.
    Work(Vec<u32>),
    /// The call exec succeeded, so the step runs.
    Started(Confined),
    /// The step was not executed.
    Failed(SetupFailure),
    /// Exit status of the step, and the size limit that the run had reached at this time, if any.
    Ended(StepEnd, Option<SizeLimit>),
    /// The run has no processes any more.
    Empty(SpentResources),
}

/// Facts that the step's process sends to the recorder of programs, because the service can't read them itself.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnouncedPrograms {
    /// The program that the step's process executes next.
    pub first: PathBuf,
    /// The executable files of the step, in the order of the request. Only the run sees the file system with these files.
    pub of_step: Vec<FileId>,
}

/// Restrictions that the step's process verified just before exec.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confined {
    /// Landlock's ABI and the number of rules, or `None` if Landlock is not enforced.
    pub landlock: Option<(u64, u64)>,
    /// SHA-256 of the system-call filter, or `None` if no filter is installed.
    pub seccomp: Option<String>,
    /// Number of names that deny patterns masked, or `None` if the profile has no deny patterns.
    pub masked: Option<u64>,
    /// True if the capability bounding set is empty.
    pub bounded: bool,
    /// True if the kernel enforces the limit of the number of processes. The kernel never enforces this limit for a
    /// process whose user is root outside the run.
    pub counted: bool,
}

/// The exit status of the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum StepEnd {
    Exited(i32),
    Signalled(i32),
}

/// A size limit that a run reached.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum SizeLimit {
    /// A file system of the run is full.
    Disk,
    /// SIGXFSZ ended a process, and a file has the maximum size of a file.
    File,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpentResources {
    pub cpu_us: u64,
    pub resident_peak: u64,
    /// Signal that killed the run's first process, if a signal killed it.
    pub init_signal: Option<i32>,
    /// Number of processes of the run that could not be killed.
    pub left: u64,
}

/// Sends a request, then `texts` (the script, the parameters, the variables and the wrapper of the session), and then
/// the contents of the request's files and secrets.
pub fn write_request<'a>(
    to: &mut impl Write,
    request: &RunRequest,
    texts: [&[u8]; 4],
    mut files: impl Iterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let mut all = Vec::new();
    write_frame(&mut all, request, MAX_REQUEST)?;
    texts.iter().for_each(|text| all.extend_from_slice(text));
    to.write_all(&all)?;
    files.try_for_each(|bytes| to.write_all(bytes))
}

/// Reads a request with the texts of its run. Their sizes are checked.
pub fn read_request(from: &mut impl Read) -> io::Result<(RunRequest, RunTexts)> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let request: RunRequest = read_body(from, u32::from_be_bytes(length), MAX_REQUEST)?;
    let files = request
        .files
        .iter()
        .fold(0, |sum: u64, file| sum.saturating_add(file.bytes));
    let secrets = request
        .secrets
        .iter()
        .fold(0, |sum: u64, secret| sum.saturating_add(secret.bytes));
    if files > MAX_FILES_BYTES {
        return Err(invalid("the files of the request are too large"));
    }
    if secrets > MAX_SECRETS_BYTES {
        return Err(invalid("the secrets of the request are too large"));
    }
    let mut text = |bytes: u64| {
        if bytes > MAX_TEXT {
            return Err(invalid(
                "the script, the parameters or a file of the request are too large",
            ));
        }
        let mut text = Vec::new();
        from.by_ref().take(bytes).read_to_end(&mut text)?;
        if text.len() as u64 == bytes {
            Ok(text)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    };
    let mut sizes = request.sizes();
    let mut next = || sizes.next().map_or_else(|| Ok(Vec::new()), &mut text);
    let texts = RunTexts {
        source: next()?,
        params: next()?,
        session_env: next()?,
        wrapper: next()?,
        files: sizes.map(text).collect::<io::Result<_>>()?,
        secrets: request
            .secrets
            .iter()
            .map(|secret| read_secret(from, secret))
            .collect::<io::Result<_>>()?,
    };
    Ok((request, texts))
}

/// Reads the value of a secret into a buffer of its exact size, because a growing buffer would leave copies in memory.
fn read_secret(from: &mut impl Read, secret: &SecretEntry) -> io::Result<SecretValue> {
    let size = usize::try_from(secret.bytes)
        .map_err(|_| invalid("a secret of the request is too large"))?;
    let mut value = Zeroizing::new(vec![0; size]);
    from.read_exact(&mut value)?;
    Ok(SecretValue::new(value))
}

/// Sends one message in one write.
pub fn write_message(to: &mut impl Write, message: &HelperMessage) -> io::Result<()> {
    write_frame(to, message, MAX_MESSAGE)
}

/// Sends a message with a descriptor.
pub fn send_descriptor(
    to: impl AsFd,
    message: &HelperMessage,
    descriptor: BorrowedFd<'_>,
) -> io::Result<()> {
    let mut frame = Vec::new();
    write_frame(&mut frame, message, MAX_MESSAGE)?;
    send(to, &frame, &[descriptor])
}

/// Maximum number of descriptors in one message.
const MAX_DESCRIPTORS: usize = 4;

/// Sends bytes together with descriptors.
pub fn send(to: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    // The kernel sends all bytes, because they are much fewer than a socket buffer holds.
    let bytes = [io::IoSlice::new(bytes)];
    net::sendmsg(to, &bytes, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives bytes, and the descriptors that arrive with them. The kernel drops descriptors beyond [`MAX_DESCRIPTORS`].
pub fn receive(from: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut into = [io::IoSliceMut::new(buffer)];
    let received = net::recvmsg(from, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    Ok((received.bytes, descriptors.collect()))
}

/// Sends standard output, standard error and the control socket to the first process of a run, which then starts the
/// run.
pub fn hand_over(to: &UnixStream, descriptors: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    send(to, &[1], &descriptors)
}

/// Waits for the three descriptors that [`hand_over`] sends. Returns `None` if the sender has exited.
pub fn take_over(from: &UnixStream) -> io::Result<Option<[OwnedFd; 3]>> {
    let (bytes, descriptors) = receive(from, &mut [0])?;
    if bytes == 0 {
        return Ok(None);
    }
    descriptors
        .try_into()
        .map(Some)
        .map_err(|_| invalid("a descriptor is missing"))
}

/// Removes the first complete message from `received` and returns the message, or `None` if no message is complete.
pub fn take_message(received: &mut Vec<u8>) -> io::Result<Option<HelperMessage>> {
    let Some(length) = received.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length);
    let end = 4 + length as usize;
    if length <= MAX_MESSAGE && received.len() < end {
        return Ok(None);
    }
    let message = read_body(&mut &received[4..], length, MAX_MESSAGE)?;
    received.drain(..end);
    Ok(Some(message))
}

/// Parses bytes as a run's first process parses its request. Returns the number of consumed bytes.
///
/// # Errors
/// Returns an error if the first process would refuse the request.
pub fn check_request(bytes: &[u8]) -> io::Result<usize> {
    let mut rest = bytes;
    read_request(&mut rest).map(|_| bytes.len() - rest.len())
}

/// Parses bytes as the service parses messages. Returns the number of messages.
///
/// # Errors
/// Returns an error if the service would end the run because of these bytes.
pub fn check_messages(bytes: &[u8]) -> io::Result<usize> {
    let mut received = bytes.to_vec();
    let mut count = 0;
    while take_message(&mut received)?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn write_frame(to: &mut impl Write, value: &impl Serialize, limit: u32) -> io::Result<()> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value)?;
    let length = u32::try_from(frame.len() - 4)
        .ok()
        .filter(|length| *length <= limit);
    frame[..4].copy_from_slice(
        &length
            .ok_or_else(|| invalid("the request for a run is too large"))?
            .to_be_bytes(),
    );
    to.write_all(&frame)
}

fn read_body<T: DeserializeOwned>(from: &mut impl Read, length: u32, limit: u32) -> io::Result<T> {
    if length > limit {
        return Err(invalid("a message is too large"));
    }
    let mut body = vec![0; length as usize];
    from.read_exact(&mut body)?;
    serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))
}

pub fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Request to the helper for the first process of a run. Init reads the rest of the request from its own socket.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    pub form: RunForm,
    /// User of the run on the host, or `None` for the user of the service.
    pub host_id: Option<HostId>,
    /// True if the run gets a network namespace (only with [`RunForm::Namespaces`]).
    pub own_network: bool,
}

/// The descriptors that the service sends with a [`Start`], in this order.
pub struct Descriptors {
    pub control: OwnedFd,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// The control group in which the new process is created.
    pub cgroup: Option<OwnedFd>,
}

/// Maximum size of a [`Start`] in bytes.
const MAX_START: usize = 1024;

/// Requests a run from the helper with one packet.
pub fn send_start(to: &OwnedFd, start: &Start, descriptors: &Descriptors) -> io::Result<()> {
    let packet = serde_json::to_vec(start)?;
    let mut all = vec![
        descriptors.control.as_fd(),
        descriptors.stdout.as_fd(),
        descriptors.stderr.as_fd(),
    ];
    all.extend(descriptors.cgroup.as_ref().map(AsFd::as_fd));
    send(to, &packet, &all)
}

/// Receives one packet, or returns `None` if the service has exited.
pub fn receive_start(from: &OwnedFd) -> io::Result<Option<(Start, Descriptors)>> {
    let mut packet = [0; MAX_START];
    let (bytes, descriptors) = receive(from, &mut packet)?;
    if bytes == 0 {
        return Ok(None);
    }
    let start = parse_start(&packet[..bytes])?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        descriptors
            .next()
            .ok_or_else(|| invalid("a descriptor is missing"))
    };
    Ok(Some((
        start,
        Descriptors {
            control: next()?,
            stdout: next()?,
            stderr: next()?,
            cgroup: descriptors.next(),
        },
    )))
}

fn parse_start(packet: &[u8]) -> io::Result<Start> {
    serde_json::from_slice(packet).map_err(|error| invalid(&error.to_string()))
}

/// Parses bytes as the helper parses a start packet.
///
/// # Errors
/// Returns an error if the helper would refuse the packet.
pub fn check_start(bytes: &[u8]) -> io::Result<()> {
    parse_start(bytes).map(drop)
}

/// Text in a wrapper that is replaced by the path of the state.
pub const SESSION_STATE_FILE: &str = "{state}";
/// Text in a wrapper that is replaced by the path of the wrapper's file.
pub const SESSION_WRAPPER_FILE: &str = "{wrapper}";

/// An input of a run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputEntry {
    pub name: ArtifactName,
    pub bytes: u64,
    pub digest: ContentDigest,
}

/// What a run gets from its session.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    pub env_bytes: u64,
    /// Names of defaults that the run does not get.
    pub unset: Vec<Vec<u8>>,
    /// The directory in which the step starts, as bytes.
    pub cwd: Option<Vec<u8>>,
    /// True if the content of the work directory follows the inputs.
    pub tree: bool,
    pub wrapper: Option<WrapperRequest>,
}

/// The file through which a shell saves its state.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrapperRequest {
    pub name: String,
    pub bytes: u64,
    pub env: Vec<(String, String)>,
    pub arguments: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WrapperRequest;
    use documents::ContentDigest;

    fn profile() -> Profile {
        let text = r#"{"require":[],"read":[],"write":[],"deny":[],"workdir":"private","network":{"mode":"none","hosts":[]},"sockets":[],
            "proc":"minimal","run_as":"isolated","limits":{"wall_ms":1,"cpu_milli":1,"memory_bytes":1,"processes":1,"file_bytes":1,
            "disk_bytes":1,"output_bytes":1}}"#;
        serde_json::from_str(text).expect("a profile")
    }

    fn request() -> RunRequest {
        RunRequest {
            form: RunForm::Namespaces,
            landlock: true,
            filter: Some(SyscallFilter {
                sockets: Sockets::Inet,
                ground: HostSharing::LiveTree,
                code: CodeInMemory::All,
            }),
            own_id: Some(7),
            interpreter: "sh".into(),
            env: vec![("PARAM_A".into(), "b\u{0}".into())],
            profile: profile(),
            programs: None,
            record: false,
            group: Controllers::default(),
            run_dir: None,
            source_bytes: 3,
            params_bytes: 2,
            files: vec![file()],
            secrets: vec![SecretEntry {
                name: "db".parse().expect("a name"),
                bytes: 7,
                as_file: true,
                variable: Some("DB".to_owned()),
            }],
            files_in_tmp: true,
            inputs: vec![InputEntry {
                name: "app.tar".parse().expect("a name"),
                bytes: 1,
                digest: ContentDigest::of(b"x"),
            }],
            results: true,
            session: Some(SessionRequest {
                env_bytes: 5,
                unset: vec![],
                cwd: Some(b"/tmp/\xff".to_vec()),
                tree: true,
                wrapper: Some(WrapperRequest {
                    name: "session.bash".into(),
                    bytes: 1,
                    env: vec![("BASH_ENV".into(), "{wrapper}".into())],
                    arguments: None,
                }),
            }),
        }
    }

    fn file() -> StepFile {
        StepFile {
            path: "a/b".into(),
            bytes: 6,
            digest: ContentDigest::of(FILE),
            executable: true,
        }
    }

    const FILE: &[u8] = b"x = 1\n";
    const TEXTS: [&[u8]; 4] = [b"abc", b"{}", b"A=\xff\0\0", b":"];
    const SECRET: &[u8] = b"hunter2";

    #[test]
    fn a_request_is_unchanged_after_transfer() {
        let mut wire = Vec::new();
        write_request(&mut wire, &request(), TEXTS, [FILE, SECRET].into_iter()).expect("writes");
        let (arrived, texts) = read_request(&mut wire.as_slice()).expect("reads");
        let [source, params, session_env, wrapper] = TEXTS.map(<[u8]>::to_vec);
        let (files, secrets) = (
            vec![FILE.to_vec()],
            vec![SecretValue::new(SECRET.to_vec().into())],
        );
        assert_eq!(
            (arrived, texts),
            (
                request(),
                RunTexts {
                    source,
                    params,
                    session_env,
                    wrapper,
                    files,
                    secrets
                }
            )
        );
    }

    #[test]
    fn incomplete_and_too_large_requests_are_refused() {
        let mut wire = Vec::new();
        write_request(&mut wire, &request(), TEXTS, [FILE, SECRET].into_iter()).expect("writes");
        for cut in [0, 3, 10, wire.len() - 1] {
            assert!(read_request(&mut &wire[..cut]).is_err(), "{cut}");
        }
        assert!(read_request(&mut &[0xff; 64][..]).is_err());
        let one = |bytes| StepFile { bytes, ..file() };
        let secret = |bytes| SecretEntry {
            bytes,
            ..request().secrets.remove(0)
        };
        for huge in [
            RunRequest {
                source_bytes: MAX_TEXT + 1,
                ..request()
            },
            RunRequest {
                files: vec![one(MAX_TEXT + 1)],
                ..request()
            },
            RunRequest {
                files: (0..5).map(|_| one(MAX_TEXT)).collect(),
                ..request()
            },
            RunRequest {
                files: vec![one(u64::MAX), one(u64::MAX)],
                ..request()
            },
            RunRequest {
                secrets: vec![secret(MAX_SECRETS_BYTES + 1)],
                ..request()
            },
            RunRequest {
                secrets: vec![secret(u64::MAX), secret(u64::MAX)],
                ..request()
            },
        ] {
            let mut wire = Vec::new();
            write_request(&mut wire, &huge, TEXTS, [FILE, SECRET].into_iter()).expect("writes");
            wire.resize(8 << 20, b'x');
            assert!(read_request(&mut wire.as_slice()).is_err());
        }
        let long = RunRequest {
            interpreter: "x".repeat(MAX_REQUEST as usize),
            ..request()
        };
        assert!(write_request(&mut Vec::new(), &long, TEXTS, [FILE, SECRET].into_iter()).is_err());
    }

    #[test]
    fn the_first_process_of_a_run_receives_all_three_descriptors_or_an_error() {
        let (helper, first) = UnixStream::pair().expect("a pair");
        let (mut reader, writer) = io::pipe().expect("a pipe");
        hand_over(&helper, [writer.as_fd(), writer.as_fd(), helper.as_fd()]).expect("sends");
        let [stdout, stderr, _] = take_over(&first).expect("receives").expect("something");
        for (stream, text) in [(stdout, "a"), (stderr, "b")] {
            io::PipeWriter::from(stream)
                .write_all(text.as_bytes())
                .expect("writes");
        }
        let mut read = [0; 2];
        reader.read_exact(&mut read).expect("reads");
        assert_eq!(&read, b"ab");
        (&helper)
            .write_all(&[1])
            .expect("a byte without descriptors");
        assert!(take_over(&first).is_err());
        drop(helper);
        assert!(take_over(&first).expect("the end").is_none());
    }

    #[test]
    fn messages_are_parsed_one_by_one_from_partial_reads() {
        let messages = [
            HelperMessage::Ended(StepEnd::Exited(3), None),
            HelperMessage::Empty(SpentResources::default()),
        ];
        let mut wire = Vec::new();
        for message in &messages {
            write_message(&mut wire, message).expect("writes");
        }
        let (mut received, mut taken) = (Vec::new(), Vec::new());
        for byte in wire {
            received.push(byte);
            taken.extend(take_message(&mut received).expect("valid"));
        }
        assert_eq!(taken, messages);
        assert!(take_message(&mut vec![0xff; 8]).is_err());
    }
}
