//! Escapes of texts in canonical JSON.

pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        let (plain, others) = rest.split_at(plain_length(rest.as_bytes()));
        out.extend_from_slice(plain.as_bytes());
        let mut chars = others.chars();
        let Some(c) = chars.next() else { break };
        write_escape(out, c);
        rest = chars.as_str();
    }
}

/// Returns the number of bytes at the start of the text that need no escape. These bytes are ASCII, so the count ends
/// at a character boundary.
fn plain_length(bytes: &[u8]) -> usize {
    // Most of an envelope is base64, which needs no escapes. Eight bytes are checked at once as one number, because the
    // compiler uses no vector instructions in a release (Cargo.toml).
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let is_plain = |block: &[u8; 8]| {
        let word = u64::from_ne_bytes(*block);
        let below_space = word.wrapping_sub(EACH * 0x20);
        let quote = (word ^ (EACH * 0x22)).wrapping_sub(EACH);
        let backslash = (word ^ (EACH * 0x5c)).wrapping_sub(EACH);
        let delete = word.wrapping_add(EACH);
        // Each number has the high bit of a byte that needs an escape. Only such a byte can change the byte above it.
        (below_space | quote | backslash | delete | word) & (EACH << 7) == 0
    };
    let plain = 8 * bytes
        .as_chunks()
        .0
        .iter()
        .take_while(|block| is_plain(block))
        .count();
    let is_plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    plain + bytes[plain..].iter().take_while(is_plain).count()
}

fn write_escape(out: &mut Vec<u8>, c: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\u{8}' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\u{c}' => b'f',
        '\r' => b'r',
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let digit = |shift: u16| HEX[usize::from(*unit >> shift & 15)];
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_bytes_end_at_the_first_byte_that_needs_an_escape() {
        for byte in 0..=u8::MAX {
            let is_plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for at in 0..24 {
                for fill in [b' ', b'!', b'#', b'[', b']', b'~'] {
                    let mut bytes = [fill; 24];
                    bytes[at] = byte;
                    assert_eq!(
                        plain_length(&bytes),
                        if is_plain { 24 } else { at },
                        "{byte} at {at}"
                    );
                }
            }
        }
    }
}
