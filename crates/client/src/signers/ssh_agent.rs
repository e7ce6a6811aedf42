//! Lists the keys in an ssh-agent (draft-ietf-sshm-ssh-agent, section 3.5).

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use documents::{SshKey, WireReader};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
/// Time limit for each read. An agent answers this request without a question to the user.
const PATIENCE: Duration = Duration::from_secs(2);
/// Maximum size of an answer, as in OpenSSH.
const MAX_ANSWER: usize = 256 << 10;

/// Returns the keys that the agent behind this socket can use. Keys of other algorithms are skipped, because no roster
/// accepts them.
///
/// # Errors
/// Returns an error if the agent does not answer as the protocol requires.
pub fn keys(socket: &Path) -> io::Result<Vec<SshKey>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&[0, 0, 0, 1, REQUEST_IDENTITIES])?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(odd());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    parse(&answer).ok_or_else(odd)
}

fn parse(answer: &[u8]) -> Option<Vec<SshKey>> {
    let mut wire = WireReader(answer);
    if wire.u8()? != IDENTITIES_ANSWER {
        return None;
    }
    let count = wire.u32()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, _comment) = (wire.string()?, wire.string()?);
        keys.extend(SshKey::from_blob(blob, "").ok());
    }
    Some(keys)
}

fn odd() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the agent's answer is not a list of keys",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_answer_is_refused_and_an_unknown_key_type_is_skipped() {
        let answer = |count: u8, parts: &[&[u8]]| {
            let mut bytes = vec![IDENTITIES_ANSWER, 0, 0, 0, count];
            for part in parts {
                bytes.extend(u32::try_from(part.len()).expect("short").to_be_bytes());
                bytes.extend(*part);
            }
            bytes
        };
        assert_eq!(parse(&answer(0, &[])).map(|keys| keys.len()), Some(0));
        assert_eq!(
            parse(&answer(1, &[b"no key", b"comment"])).map(|keys| keys.len()),
            Some(0)
        );
        for bad in [
            answer(1, &[]),
            answer(2, &[b"a", b"b"]),
            answer(255, &[b"a"]),
            vec![5],
            Vec::new(),
        ] {
            assert!(parse(&bad).is_none(), "{bad:?}");
        }
    }
}
