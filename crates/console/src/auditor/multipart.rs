//! Reads a form with files (RFC 7578).

use std::collections::BTreeMap;

/// Maximum number of files in one form.
pub const MAX_FILES: usize = 2000;
/// Maximum size of the head of a part, in bytes.
const MAX_HEAD: usize = 8 << 10;

/// A file of a form.
pub struct SentFile<'b> {
    /// Name of the file, as the browser sent it. For a file of a directory, the path below the directory.
    pub name: String,
    /// Contents of the file.
    pub bytes: &'b [u8],
}

/// The fields and files of a form.
#[derive(Default)]
pub struct SentForm<'b> {
    /// Fields by their names.
    pub fields: BTreeMap<String, String>,
    /// Files in the order of the form.
    pub files: Vec<SentFile<'b>>,
}

impl<'b> SentForm<'b> {
    /// Reads the body of a request with this `Content-Type`.
    ///
    /// # Errors
    /// Returns the reason if the body is no complete form, or has too many files.
    pub fn parse(content_type: &str, body: &'b [u8]) -> Result<Self, String> {
        let broken = || "the form did not arrive completely: send it again".to_owned();
        let boundary = content_type
            .strip_prefix("multipart/form-data;")
            .and_then(|rest| rest.trim().strip_prefix("boundary="))
            .map(|boundary| boundary.trim_matches('"'))
            .filter(|boundary| (1..=70).contains(&boundary.len()))
            .ok_or_else(broken)?;
        let first = format!("--{boundary}");
        let delimiter = format!("\r\n{first}");
        let mut form = Self::default();
        let mut rest = body.strip_prefix(first.as_bytes()).ok_or_else(broken)?;
        loop {
            if rest == b"--" || rest == b"--\r\n" {
                return Ok(form);
            }
            rest = rest.strip_prefix(b"\r\n").ok_or_else(broken)?;
            let head_end =
                find(&rest[..rest.len().min(MAX_HEAD)], b"\r\n\r\n").ok_or_else(broken)?;
            let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
            rest = &rest[head_end + 4..];
            let length = find(rest, delimiter.as_bytes()).ok_or_else(broken)?;
            let bytes = &rest[..length];
            rest = &rest[length + delimiter.len()..];
            let name = parameter(&head, "name").ok_or_else(broken)?;
            match parameter(&head, "filename") {
                // A browser sends an empty file if the person chose none.
                Some(file) if file.is_empty() && bytes.is_empty() => {}
                Some(_) if form.files.len() >= MAX_FILES => {
                    return Err(format!(
                        "one form can have {MAX_FILES} files: send the others in a further form"
                    ));
                }
                Some(file) => {
                    let below = file
                        .split_once('/')
                        .map_or(file.as_str(), |(_, below)| below);
                    form.files.push(SentFile {
                        name: below.to_owned(),
                        bytes,
                    });
                }
                None => {
                    form.fields
                        .insert(name, String::from_utf8_lossy(bytes).into_owned());
                }
            }
        }
    }
}

/// Returns the first place of `wanted`, which begins with a carriage return.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\r') {
        from += at;
        if bytes[from..].starts_with(wanted) {
            return Some(from);
        }
        from += 1;
    }
    None
}

/// Returns a parameter of the field `Content-Disposition`. Browsers write quotes and line ends in it as percent escapes
/// (HTML Living Standard, section 4.10.22.8).
fn parameter(head: &str, name: &str) -> Option<String> {
    let line = head.split("\r\n").find(|line| {
        line.to_ascii_lowercase()
            .starts_with("content-disposition: form-data")
    })?;
    let (_, rest) = line.split_once(&format!("; {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("%22", "\"")
            .replace("%0D", "\r")
            .replace("%0A", "\n"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (head, bytes) in parts {
            body.extend_from_slice(
                format!("--x1\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(),
            );
            body.extend_from_slice(bytes);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--x1--\r\n");
        body
    }

    const KIND: &str = "multipart/form-data; boundary=x1";

    #[test]
    fn fields_and_files_of_a_form_are_read_unchanged() {
        let body = body(&[
            ("name=\"form\"", b"7"),
            (
                "name=\"files\"; filename=\"a%22b.json\"\r\nContent-Type: application/json",
                b"{\"a\":\r\n--x\r\n1}",
            ),
            ("name=\"folder\"; filename=\"top/below/c.json\"", b""),
            ("name=\"files\"; filename=\"\"", b""),
        ]);
        let form = SentForm::parse(KIND, &body).expect("a form");
        assert_eq!(form.fields["form"], "7");
        let names: Vec<&str> = form.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a\"b.json", "below/c.json"]);
        assert_eq!(form.files[0].bytes, b"{\"a\":\r\n--x\r\n1}");
    }

    #[test]
    fn an_incomplete_form_and_a_form_with_too_many_files_are_refused() {
        let whole = body(&[("name=\"files\"; filename=\"a\"", b"x")]);
        for end in 0..whole.len() - 2 {
            assert!(SentForm::parse(KIND, &whole[..end]).is_err(), "{end}");
        }
        assert!(SentForm::parse("application/json", &whole).is_err());
        let many = vec![("name=\"files\"; filename=\"a\"", &b"x"[..]); MAX_FILES + 1];
        assert!(SentForm::parse(KIND, &body(&many)).is_err());
        assert!(SentForm::parse(KIND, &body(&many[1..])).is_ok());
    }

    proptest! {
        #[test]
        fn no_body_causes_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = SentForm::parse(KIND, &bytes);
            let _ = SentForm::parse(KIND, &[b"--x1\r\n", &bytes[..]].concat());
        }
    }
}
