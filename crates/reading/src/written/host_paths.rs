//! Paths of the host, deny patterns and reasons, as people write them.
//!
//! These checks read only the text and never the disk, so that the boundary and the approver's program derive the same
//! profile. The check before a seal tests whether a path exists and contains no symbolic link.

use documents::shortened;

/// Maximum length of a path in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Maximum length of a deny pattern in bytes, and maximum number of wildcards, because the time of a match is limited.
const MAX_PATTERN_BYTES: usize = 256;
const MAX_STARS: usize = 16;
/// Maximum length of a reason in bytes.
const MAX_REASON_BYTES: usize = 256;
/// Directories of which each run has its own, so that no file of the host can be mounted in them.
const OWN: [&str; 5] = ["/proc", "/dev", "/sys", "/run/step", "/tmp/work"];

/// Checks a path of the host. The path must be absolute, in plain form, and neither `/` nor a directory of the run
/// itself.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_host_path(text: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("the path {:?} {why}", shortened(text)));
    if text.len() > MAX_PATH_BYTES {
        return refuse(format!(
            "is longer than {MAX_PATH_BYTES} bytes: name a directory above this path"
        ));
    }
    if text.chars().any(char::is_control) {
        return refuse(
            "contains a line break or another control character: rename the file".to_owned(),
        );
    }
    if !text.starts_with('/') {
        return refuse("is relative: write a path that begins with /".to_owned());
    }
    if text.contains(['*', '?', '[', '{']) {
        return refuse("looks like a pattern: name the directory itself".to_owned());
    }
    let plain: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if plain.contains(&"..") {
        return refuse("contains `..`: write the path without `..`".to_owned());
    }
    if plain.is_empty() {
        return refuse("is the whole host: name only the paths that the step needs".to_owned());
    }
    let plain = format!("/{}", plain.join("/"));
    if plain != text {
        return refuse(format!("is not in its plain form: write {plain}"));
    }
    if let Some(own) = OWN.into_iter().find(|own| is_at_or_below(text, own)) {
        return refuse(format!(
            "is below {own}, and each run has its own {own}: remove the path"
        ));
    }
    if let Some(own) = OWN
        .into_iter()
        .find(|own| text != "/tmp" && is_at_or_below(own, text))
    {
        return refuse(format!(
            "would cover {own}, and each run has its own {own}: name only the paths that the step needs"
        ));
    }
    if is_at_or_below(text, "/var/tmp") {
        return refuse(
            "is below /var/tmp, and each run has its own /var/tmp: remove the path".to_owned(),
        );
    }
    if ["/tmp", "/etc"].contains(&text) {
        return refuse(
            "can't be given as a whole, because each run gets its own: name the paths below that the step needs"
                .to_owned(),
        );
    }
    Ok(())
}

/// Returns true if `path` equals `directory` or lies below `directory`, compared by segments. Both paths must be in
/// plain form.
pub fn is_at_or_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || directory == "/")
}

/// Checks the length of a deny pattern, and that the pattern does not match every path.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_pattern(text: &str) -> Result<(), String> {
    let refuse = |why: String| Err(format!("the deny pattern {:?} {why}", shortened(text)));
    if text.len() > MAX_PATTERN_BYTES {
        return refuse(format!(
            "is longer than {MAX_PATTERN_BYTES} bytes: write several patterns"
        ));
    }
    if text.chars().any(char::is_control) {
        return refuse(
            "contains a line break or another control character: remove the character".to_owned(),
        );
    }
    if text.matches('*').count() > MAX_STARS {
        return refuse(format!(
            "has more than {MAX_STARS} stars: write several patterns"
        ));
    }
    if text.chars().all(|c| "*?/.".contains(c)) {
        return refuse(
            "matches everything: name the files to hide, for example \"**/.env\"".to_owned(),
        );
    }
    if !text.starts_with('/') && !text.starts_with("**/") {
        return refuse(format!(
            "must begin with / or **/: write for example **/{}",
            shortened(text)
        ));
    }
    Ok(())
}

/// Splits a list of patterns at commas, except commas in braces (`{a,b}`) or after a backslash.
pub fn split_patterns(text: &str) -> Vec<String> {
    let (mut patterns, mut depth, mut escaped) = (vec![String::new()], 0_usize, false);
    for c in text.chars() {
        match c {
            ',' if depth == 0 && !escaped => {
                patterns.push(String::new());
                continue;
            }
            '{' if !escaped => depth += 1,
            '}' if !escaped => depth = depth.saturating_sub(1),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        if let Some(pattern) = patterns.last_mut() {
            pattern.push(c);
        }
    }
    patterns
        .iter()
        .map(|pattern| pattern.trim().to_owned())
        .collect()
}

/// Checks the reason for `sandbox=off`.
///
/// # Errors
/// Returns a message with the error and the text to write instead.
pub fn check_reason(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the reason is empty: write why the step cannot run in the sandbox".to_owned());
    }
    if text.len() > MAX_REASON_BYTES || text.chars().any(char::is_control) {
        return Err(format!(
            "the reason must be one line of at most {MAX_REASON_BYTES} bytes: shorten the reason"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_inside_braces_or_after_a_backslash_does_not_split_a_pattern_list() {
        for (list, patterns) in [
            ("**/.env", &["**/.env"][..]),
            ("**/a, **/b", &["**/a", "**/b"]),
            ("**/{a,q}/**,/srv/x", &["**/{a,q}/**", "/srv/x"]),
            ("**/{a,{b,c}},**/d", &["**/{a,{b,c}}", "**/d"]),
            (r"**/a\,b,**/\{c,**/d", &[r"**/a\,b", r"**/\{c", "**/d"]),
            ("**/}a,**/b", &["**/}a", "**/b"]),
            ("**/a,", &["**/a", ""]),
        ] {
            assert_eq!(split_patterns(list), patterns, "{list}");
        }
    }

    #[test]
    fn a_host_path_is_an_absolute_plain_path_and_never_a_path_that_the_run_provides() {
        for good in [
            "/srv/app",
            "/var/lib/a b",
            "/tmp/x",
            "/etc/ssl",
            "/run/stepping",
            "/var",
            "/var/tmpx",
            "/a..b",
        ] {
            assert_eq!(check_host_path(good), Ok(()), "{good}");
        }
        let long = format!("/{}", "a".repeat(2000));
        for (bad, word) in [
            ("", "relative"),
            ("srv", "relative"),
            ("/", "whole host"),
            ("//", "whole host"),
            ("/srv/", "write /srv"),
            ("/srv//a", "write /srv/a"),
            ("/srv/./a", "write /srv/a"),
            ("/srv/../etc", "contains `..`"),
            ("/srv/a\nb", "line break"),
            ("/srv/a\0", "control"),
            ("/srv/*", "pattern"),
            ("/{work}", "pattern"),
            ("/proc/1/root", "/proc"),
            ("/dev/vda", "/dev"),
            ("/run", "cover /run/step"),
            ("/var/tmp/x", "/var/tmp"),
            ("/tmp", "each run"),
            ("/etc", "each run"),
            (&long, "longer"),
        ] {
            let why = check_host_path(bad).expect_err(bad);
            assert!(why.contains(word) && why.len() < 300, "{why}");
        }
        assert!(is_at_or_below("/srv/app/a", "/srv/app") && is_at_or_below("/srv/app", "/srv/app"));
        assert!(!is_at_or_below("/srv/apple", "/srv/app") && !is_at_or_below("/srv", "/srv/app"));
    }

    #[test]
    fn a_deny_pattern_must_not_match_every_path_and_must_have_a_limited_cost() {
        for good in ["**/.env", "/srv/app/secrets/**", "**/*.pem", "**/.git/**"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        let stars = format!("**/{}x", "*".repeat(1000));
        for (bad, word) in [
            ("", "everything"),
            ("**", "everything"),
            ("**/*", "everything"),
            ("/**", "everything"),
            ("**/?*", "everything"),
            ("**/.*", "everything"),
            (".env", "**/.env"),
            ("**/a\nb", "line break"),
            (&stars[..200], "stars"),
            (&stars, "longer"),
        ] {
            let why = check_pattern(bad).expect_err(bad);
            assert!(why.contains(word) && why.len() < 400, "{why}");
        }
    }

    #[test]
    fn a_reason_is_one_line_of_text() {
        assert!(
            check_reason(" ").is_err()
                && check_reason("a\nb").is_err()
                && check_reason("needs docker").is_ok()
        );
    }
}
