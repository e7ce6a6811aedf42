//! Finds the paths of this host that match a path with `*`.

use std::fs;
use std::path::PathBuf;

/// Maximum number of paths that match one pattern or the beginning of the pattern.
const MAX_MATCHES: usize = 1024;

/// Returns the existing paths that match an absolute path in which `*` matches any characters of one segment, sorted. As
/// in a shell, a leading dot must be in the pattern.
///
/// # Errors
/// Returns a message if too many paths match.
pub fn matching(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut paths = vec![PathBuf::from("/")];
    for segment in pattern.split('/').filter(|segment| !segment.is_empty()) {
        let mut next = Vec::new();
        for path in paths {
            if !segment.contains('*') {
                next.push(path.join(segment));
                continue;
            }
            for entry in fs::read_dir(&path).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name
                    .to_str()
                    .is_some_and(|name| segment_matches(segment, name))
                {
                    next.push(path.join(name));
                }
            }
            if next.len() > MAX_MATCHES {
                let why = format!(
                    "more than {MAX_MATCHES} paths match {pattern}: write a pattern that matches fewer"
                );
                return Err(why);
            }
        }
        paths = next;
    }
    paths.retain(|path| path.exists());
    paths.sort();
    Ok(paths)
}

/// Returns true if `*` in the pattern can be replaced by texts so that the pattern is the name.
fn segment_matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = name
        .strip_prefix(first)
        .filter(|_| !name.starts_with('.') || first.starts_with('.'))
    else {
        return false;
    };
    for part in middle.split('*') {
        let Some((_, after)) = left.split_once(part) else {
            return false;
        };
        left = after;
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_part_of_one_segment() {
        for (pattern, name, matches) in [
            ("cc1", "cc1", true),
            ("cc1", "cc1plus", false),
            ("*", "x", true),
            ("*", ".x", false),
            (".*", ".x", true),
            ("go*", "go", true),
            ("go*", "go-1.19", true),
            ("go-*", "go", false),
            ("*-gcc", "x86_64-linux-gnu-gcc", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axbxbc", true),
            ("a*b*c", "acb", false),
            ("a*b*b", "ab", false),
        ] {
            assert_eq!(segment_matches(pattern, name), matches, "{pattern} {name}");
        }
    }
}
