//! Sends a run its contents: the texts, the inputs and the work directory of its session.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::FileExt as _,
        net::UnixStream,
    },
    path::Path,
};

use crate::{
    InputEntry, Plan, PlannedInput, PlannedSession, RunRequest, SessionRequest, SetupFailure,
    SetupStage, WrapperRequest, isolation::session_tree::is_of_socket, protocol,
};

/// Maximum size of one read of an input, in bytes.
const BUFFER: usize = 64 << 10;

/// The reason why a run did not get its contents.
pub struct NotSent {
    pub failure: SetupFailure,
    /// True if the service could not read a content, so that a report of the first process has no more information.
    pub is_own: bool,
}

pub fn entry(input: &PlannedInput) -> InputEntry {
    InputEntry {
        name: input.name.clone(),
        bytes: input.bytes,
        digest: input.digest,
    }
}

/// Returns the request for a session in a run whose private work directory is `work`.
pub fn session(session: &PlannedSession, work: &Path) -> SessionRequest {
    let cwd = session.cwd.as_ref().map(|cwd| {
        // The work directory may have had another path in the last run.
        let before = session.tree.as_ref().map(|tree| tree.path());
        let path = Path::new(std::ffi::OsStr::from_bytes(cwd));
        let below = before.and_then(|before| path.strip_prefix(before).ok());
        below.map_or_else(
            || cwd.clone(),
            |below| work.join(below).into_os_string().into_vec(),
        )
    });
    SessionRequest {
        env_bytes: variables(session).len() as u64,
        unset: session.unset.clone(),
        cwd,
        tree: session.tree.is_some(),
        wrapper: session.wrapper.as_ref().map(|wrapper| WrapperRequest {
            name: wrapper.name.to_owned(),
            bytes: wrapper.content.len() as u64,
            env: wrapper.env.clone(),
            arguments: wrapper.arguments.clone(),
        }),
    }
}

/// Returns the variables of a session as `NAME=VALUE`, each with a NUL byte at its end.
fn variables(session: &PlannedSession) -> Vec<u8> {
    session
        .env
        .iter()
        .flat_map(|(name, value)| [&name[..], b"=", value, b"\0"].concat())
        .collect()
}

/// Sends the request and all contents of a run.
///
/// # Errors
/// Returns an error if the first process of the run does not read, or if a content can't be read. The run is not started
/// then.
pub fn send(to: &mut UnixStream, request: &RunRequest, plan: &Plan) -> Result<(), NotSent> {
    let sent = try_send(to, request, plan);
    if sent.is_err() {
        // Otherwise the first process would wait for the rest.
        let _ = to.shutdown(Shutdown::Write);
    }
    sent
}

fn try_send(to: &mut UnixStream, request: &RunRequest, plan: &Plan) -> Result<(), NotSent> {
    let lost = |error: io::Error| NotSent {
        failure: SetupFailure::from_io(SetupStage::Other, "hand the request on", error),
        is_own: false,
    };
    let session = plan.session.as_ref();
    let env = session.map(variables).unwrap_or_default();
    let wrapper = session
        .and_then(|session| session.wrapper.as_ref())
        .map_or(&b""[..], |wrapper| wrapper.content);
    let texts = [&plan.source[..], &plan.params_json, &env, wrapper];
    let contents = plan.files.iter().map(|planned| &*planned.bytes);
    let contents = contents.chain(plan.secrets.iter().map(|secret| secret.value.expose()));
    protocol::write_request(to, request, texts, contents).map_err(lost)?;
    let unsent = |what: String| {
        move |error: io::Error| {
            let is_own = !is_of_socket(&error);
            // The kernel kills the first process if the copy needs more memory than the run may have.
            let what = if is_own {
                format!("read {what}")
            } else {
                format!("copy {what}; the limit memory_bytes may be too small")
            };
            NotSent {
                failure: SetupFailure::from_io(SetupStage::Workdir, &what, error),
                is_own,
            }
        }
    };
    for input in &plan.inputs {
        send_input(to, input).map_err(unsent(format!("the artifact {}", input.name)))?;
    }
    match session.and_then(|session| session.tree.as_ref()) {
        Some(tree) => tree
            .send(to)
            .map_err(unsent("the work directory of the session".to_owned())),
        None => Ok(()),
    }
}

/// Sends exactly the planned number of bytes.
fn send_input(to: &mut UnixStream, input: &PlannedInput) -> io::Result<()> {
    let (mut buffer, mut at) = (vec![0; BUFFER], 0);
    while at < input.bytes {
        let now = BUFFER.min(usize::try_from(input.bytes - at).unwrap_or(BUFFER));
        let read = input.file.read_at(&mut buffer[..now], at)?;
        if read == 0 {
            return Err(io::Error::other("the file became shorter"));
        }
        to.write_all(&buffer[..read])?;
        at += read as u64;
    }
    Ok(())
}
