//! The header in which a proxy states the address of the browser, at the beginning of each connection that it forwards:
//! the PROXY protocol, version 2 (section 2.2 of <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>).

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, for a connection that the proxy itself opens, for example to check the desk. The addresses mean nothing.
const LOCAL: u8 = 0x20;
/// Version 2, for a connection of a browser.
const PROXY: u8 = 0x21;
/// Families of addresses, with TCP.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// Maximum length after the first 16 bytes. The protocol wants the header to fit into the smallest TCP segment over
/// IPv4, which has 536 bytes.
const MOST: usize = 520;

/// Reads the header, and no byte after it. Returns the address of the browser, or `None` if the proxy opened the
/// connection itself. The caller sets the deadline.
///
/// # Errors
/// Returns the reason why the header is invalid.
pub async fn read_proxy_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<IpAddr>, &'static str> {
    let early = |_| "the connection ended before the end of its header";
    let mut head = [0; 16];
    stream.read_exact(&mut head).await.map_err(early)?;
    let [signature @ .., command, family, high, low] = head;
    if signature != SIGNATURE {
        return Err("the connection does not begin with a header of the PROXY protocol, version 2");
    }
    let needed = match (command, family) {
        (LOCAL, _) => 0,
        (PROXY, TCP4) => 12,
        (PROXY, TCP6) => 36,
        _ => return Err("the header has another version, or its connection does not use TCP"),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(needed..=MOST).contains(&length) {
        return Err("the length of the header is wrong");
    }
    // The rest of the header: two addresses, two ports, and what the proxy adds.
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.map_err(early)?;
    Ok(match needed {
        12 => rest.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        36 => rest.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::time::{sleep, timeout};

    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    /// Reads the header of these bytes, after which the connection ends. Returns also what is left.
    fn read(bytes: &[u8]) -> (Result<Option<IpAddr>, &'static str>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let mut left = bytes;
        (
            runtime.block_on(read_proxy_header(&mut left)),
            left.to_vec(),
        )
    }

    #[test]
    fn only_a_whole_header_of_version_2_for_tcp_names_a_browser() {
        let four: &[u8] = &[192, 0, 2, 7, 127, 0, 0, 1, 200, 1, 1, 187];
        let six: &[u8] = &[
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[0; 15],
            &[1],
            &[200, 1, 1, 187],
        ]
        .concat();
        let tlv: &[u8] = &[3, 0, 4, 1, 2, 3, 4];
        let (v4, v6) = (
            "192.0.2.7".parse().expect("v4"),
            "2001:db8::7".parse().expect("v6"),
        );
        for (bytes, browser) in [
            (header(PROXY, TCP4, four), Some(v4)),
            (header(PROXY, TCP6, six), Some(v6)),
            (header(PROXY, TCP4, &[four, tlv].concat()), Some(v4)),
            (
                header(PROXY, TCP6, &[six, &vec![0; MOST - 36]].concat()),
                Some(v6),
            ),
            (header(LOCAL, 0, &[]), None),
            (header(LOCAL, TCP4, four), None),
            (header(LOCAL, 0x31, tlv), None),
        ] {
            let behind = b"\x16\x03\x01 the handshake";
            assert_eq!(
                read(&[&bytes[..], behind].concat()),
                (Ok(browser), behind.to_vec()),
                "{bytes:?}"
            );
            for length in 0..bytes.len() {
                read(&bytes[..length]).0.expect_err("a part of a header");
            }
        }
        let mut other_signature = header(PROXY, TCP4, four);
        other_signature[11] = 0;
        let mut too_long = header(LOCAL, 0, &[0; MOST + 1]);
        for (bytes, why) in [
            (other_signature, "does not begin with"),
            (
                b"PROXY TCP4 192.0.2.7 127.0.0.1 51201 443\r\n".to_vec(),
                "does not begin with",
            ),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and more".to_vec(),
                "does not begin with",
            ),
            (header(0x11, TCP4, four), "another version"),
            (header(0x31, TCP4, four), "another version"),
            (header(0x22, TCP4, four), "another version"),
            (header(PROXY, 0, &[]), "does not use TCP"),
            (header(PROXY, 0x12, four), "does not use TCP"),
            (header(PROXY, 0x22, six), "does not use TCP"),
            (header(PROXY, 0x31, &[0; 216]), "does not use TCP"),
            (header(PROXY, 0x41, six), "does not use TCP"),
            (header(PROXY, TCP4, &four[1..]), "length of the header"),
            (header(PROXY, TCP6, four), "length of the header"),
            (too_long.clone(), "length of the header"),
        ] {
            let refused = read(&bytes).0.expect_err("a refusal");
            assert!(refused.contains(why), "{bytes:?}: {refused}");
        }
        // A wrong length is refused before the bytes arrive.
        too_long.truncate(16);
        assert_eq!(read(&too_long).0, Err("the length of the header is wrong"));
    }

    #[tokio::test]
    async fn a_header_that_comes_byte_by_byte_is_read_and_the_deadline_is_for_all_of_it() {
        let bytes = header(PROXY, TCP4, &[192, 0, 2, 7, 127, 0, 0, 1, 200, 1, 1, 187]);
        let (mut proxy, mut desk) = tokio::io::duplex(1);
        tokio::spawn(async move {
            for byte in bytes {
                proxy.write_all(&[byte]).await.expect("written");
                sleep(Duration::from_millis(10)).await;
            }
        });
        let all = timeout(Duration::from_millis(100), read_proxy_header(&mut desk)).await;
        all.expect_err("28 bytes need 280 ms");
        let (mut proxy, mut desk) = tokio::io::duplex(1);
        let sent = header(LOCAL, 0, &[]);
        tokio::spawn(async move {
            for byte in sent {
                proxy.write_all(&[byte]).await.expect("written");
                tokio::task::yield_now().await;
            }
        });
        assert_eq!(read_proxy_header(&mut desk).await, Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_name_a_browser_but_a_header_with_its_address(
            start in 0..=16_usize, rest in prop::collection::vec(any::<u8>(), 0..600)
        ) {
            // Many cases begin as a header does.
            let bytes = [&header(PROXY, TCP4, &[])[..start], &rest].concat();
            let (found, left) = read(&bytes);
            if let Ok(found) = found {
                let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
                prop_assert_eq!(&bytes[16 + length..], &left[..]);
                prop_assert!(bytes.starts_with(SIGNATURE) && length <= MOST);
                let address = match (bytes[12], bytes[13]) {
                    (0x21, 0x11) => Some(IpAddr::from(<[u8; 4]>::try_from(&bytes[16..20]).expect("4 bytes"))),
                    (0x21, 0x21) => Some(IpAddr::from(<[u8; 16]>::try_from(&bytes[16..32]).expect("16 bytes"))),
                    (command, _) => {
                        prop_assert_eq!(command, 0x20);
                        None
                    }
                };
                prop_assert_eq!(found, address);
            }
        }
    }
}
