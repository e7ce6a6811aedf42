//! Escapes of texts in canonical JSON.

pub(super) fn write_escaped(out: &mut Vec<u8>, text: &str) {
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
    let special =
        |byte: u8| u8::from(byte.wrapping_sub(0x20) > 0x5e) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    // Most of an envelope is base64, which needs no escapes. Whole blocks are checked first, because the compiler can
    // then use vector instructions.
    let plain = |block: &&[u8; 32]| block.iter().fold(0, |any, &byte| any | special(byte)) == 0;
    let blocks = bytes.as_chunks().0.iter().take_while(plain).count() * 32;
    blocks + bytes[blocks..].iter().take_while(|&&byte| special(byte) == 0).count()
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
