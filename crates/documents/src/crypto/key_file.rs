//! Finds the public key line in a key file, and recognizes other kinds of files.

/// Maximum size of a key file, in bytes. A public key is one short line, but a larger file of another kind can still be
/// recognized by its content.
pub const MAX_KEY_FILE_BYTES: usize = 16 << 10;

/// Returns the only line with a public key in the content of a file. Empty lines and comments (`#`) do not count.
///
/// # Errors
/// Returns a message that says what the file is, and which file to give instead. The message never repeats content of
/// the file.
pub fn public_key_line(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| BINARY.to_owned())?;
    let text = text.trim_start_matches('\u{feff}');
    if let Some((_, advice)) = OTHER_FILES.iter().find(|(sign, _)| text.contains(sign)) {
        return Err((*advice).to_owned());
    }
    if text.contains('\0') {
        return Err(BINARY.to_owned());
    }
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    match lines[..] {
        [] => Err(
            "the file has no key: give a file with one public key line, usually FILE.pub"
                .to_owned(),
        ),
        [line] if line.starts_with(['{', '[']) => {
            Err("this is JSON and no public key line: give FILE.pub".to_owned())
        }
        [line] => check_begin(line).map(|()| line),
        _ => Err(format!(
            "the file has {} lines, but a key is one line: give one file for each key",
            lines.len()
        )),
    }
}

/// Refuses a certificate, and a line with options or names before the key, as in `authorized_keys` and `known_hosts`.
fn check_begin(line: &str) -> Result<(), String> {
    let kind = line.split(' ').next().unwrap_or_default();
    if kind.contains("-cert-v0") {
        return Err(
            "this is an SSH certificate: give the public key file that it certifies, without -cert in its name"
                .to_owned(),
        );
    }
    let is_key = |word: &str| TYPES.iter().any(|begin| word.starts_with(begin));
    if !is_key(kind) && line.split_whitespace().skip(1).any(is_key) {
        return Err(
            "options or names stand before the key: remove everything before its type, for example ssh-ed25519"
                .to_owned(),
        );
    }
    Ok(())
}

/// Beginnings of the types of public keys.
const TYPES: [&str; 4] = ["ssh-", "sk-ssh-", "ecdsa-", "sk-ecdsa-"];

const BINARY: &str =
    "the file is binary or in UTF-16, and no public key line: give FILE.pub, saved as UTF-8";
const PRIVATE: &str = "this is a private key: give the file with its public key, usually FILE.pub, and hand the private key to nobody";

/// Texts by which other kinds of files are recognized, each with the message for such a file.
const OTHER_FILES: [(&str, &str); 9] = [
    ("PRIVATE KEY", PRIVATE),
    ("PuTTY-User-Key-File", PRIVATE),
    ("AGE-SECRET-KEY-", PRIVATE),
    ("\"d\":", PRIVATE),
    (
        "BEGIN CERTIFICATE",
        "this is an X.509 certificate: give an OpenSSH public key, usually FILE.pub",
    ),
    (
        "BEGIN PGP",
        "this is a file of PGP: give an OpenSSH public key, usually FILE.pub",
    ),
    (
        "BEGIN SSH2 PUBLIC KEY",
        "this is a public key in another form: `ssh-keygen -i -f FILE` prints its OpenSSH line",
    ),
    (
        "PUBLIC KEY-----",
        "this is a public key in PEM: give its OpenSSH line, which `countersign key show` prints for its private key",
    ),
    (
        "BEGIN SSH SIGNATURE",
        "this is a signature: give an OpenSSH public key, usually FILE.pub",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMAW2kqNBDJrgxrcNSL9X1XjqhyWwsoV2QC1vKPFnhC a b";

    #[test]
    fn comments_empty_lines_and_line_ends_around_one_key_are_no_error() {
        for text in [
            format!("{LINE}\n"),
            format!("# mine\r\n\r\n{LINE}\r\n"),
            format!("\u{feff}{LINE}"),
        ] {
            assert_eq!(public_key_line(text.as_bytes()), Ok(LINE), "{text}");
        }
    }

    #[test]
    fn each_other_kind_of_file_is_told_with_what_to_give() {
        let begins = ["OPENSSH ", "", "RSA ", "EC ", "DSA ", "ENCRYPTED "]
            .map(|kind| format!("-----BEGIN {kind}PRIVATE KEY-----\nc2VjcmV0\n"));
        let private = begins.iter().map(String::as_str).chain([
            "SSH PRIVATE KEY FILE FORMAT 1.1\n\0",
            "PuTTY-User-Key-File-3: ssh-ed25519\n",
            "# created: 2026\nAGE-SECRET-KEY-1SECRET\n",
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n",
            "{\"kty\":\"OKP\",\"d\":\"secret\"}",
            "-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
        ]);
        for text in private {
            let message = public_key_line(text.as_bytes()).expect_err(text);
            assert!(
                message.contains("private key") && message.contains("FILE.pub"),
                "{text}: {message}"
            );
            assert!(!message.to_lowercase().contains("secret"), "{message}");
        }
        let two = format!("{LINE}\n{LINE}\n");
        let (options, host) = (
            format!("from=\"10.0.0.0/8\" {LINE}"),
            format!("git.example {LINE}"),
        );
        let utf16: Vec<u8> = LINE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, words) in [
            (&b""[..], "no key"),
            (b"# only a comment\n", "no key"),
            (two.as_bytes(), "2 lines"),
            (b"-----BEGIN CERTIFICATE-----\n", "X.509"),
            (b"-----BEGIN PUBLIC KEY-----\nMCow\n", "in PEM"),
            (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "PGP"),
            (b"---- BEGIN SSH2 PUBLIC KEY ----\n", "ssh-keygen -i"),
            (b"{\"kty\":\"OKP\",\"x\":\"a\"}", "JSON"),
            (b"ssh-ed25519-cert-v01@openssh.com AAAA me", "certificate"),
            (options.as_bytes(), "before the key"),
            (host.as_bytes(), "before the key"),
            (&utf16, "UTF-16"),
            (b"\xff\xfe\x00", "binary"),
        ] {
            let message = public_key_line(bytes).expect_err(words);
            assert!(message.contains(words), "{words}: {message}");
        }
    }
}
