//! Reads the fields of a certificate that rustls does not expose.
//!
//! The fields decide only what a message says, and whether a file of `[tls]` is taken. rustls checks the certificates of
//! a connection.

use documents::Timestamp;

/// Some fields of a certificate (RFC 5280, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFields {
    /// Whether the certificate has version 3, which has extensions.
    pub has_version_3: bool,
    /// Whether the certificate is the certificate of a CA.
    pub is_ca: bool,
    /// The time in which the certificate is valid.
    pub valid: ValidTime,
}

/// The time in which a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidTime {
    /// First second of the validity.
    pub not_before: Timestamp,
    /// Last second of the validity.
    pub not_after: Timestamp,
}

impl ValidTime {
    /// Returns the reason why the certificate is not valid now, or `None` if it is valid.
    pub fn objection(self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            Some(format!(
                "the certificate expired at {}: renew the certificate",
                self.not_after
            ))
        } else if now < self.not_before {
            Some(format!(
                "the certificate is not valid before {}, and it is {now} now: correct the clock, or name a certificate \
                 that is valid now",
                self.not_before
            ))
        } else {
            None
        }
    }
}

impl CertificateFields {
    /// Reads the fields from DER. Returns `None` if the certificate is malformed.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let mut certificate = Elements(whole(der, SEQUENCE)?);
        let mut content = Elements(certificate.take(SEQUENCE)?);
        let _algorithm = certificate.take(SEQUENCE)?;
        let _signature = certificate.take(BIT_STRING)?;
        certificate.end()?;
        let version = content
            .take_if(VERSION)?
            .map_or(Some(&[0][..]), |version| whole(version, INTEGER))?;
        let _serial = content.take(INTEGER)?;
        let _algorithm = content.take(SEQUENCE)?;
        let issuer = content.take(SEQUENCE)?;
        let mut validity = Elements(content.take(SEQUENCE)?);
        let valid = ValidTime {
            not_before: validity.take_time()?,
            not_after: validity.take_time()?,
        };
        validity.end()?;
        let subject = content.take(SEQUENCE)?;
        let _key = content.take(SEQUENCE)?;
        let _issuer_id = content.take_if(ISSUER_ID)?;
        let _subject_id = content.take_if(SUBJECT_ID)?;
        let is_ca = match content.take_if(EXTENSIONS)? {
            // A root of version 1 has no extensions, which could say that it is a CA.
            None => issuer == subject,
            Some(extensions) => has_ca_extension(whole(extensions, SEQUENCE)?)?,
        };
        content.end()?;
        matches!(version, [0..=2]).then_some(Self {
            has_version_3: version == [2],
            is_ca,
            valid,
        })
    }
}

/// Returns true if the extension "basic constraints" says CA:TRUE. A certificate has each extension at most once.
fn has_ca_extension(extensions: &[u8]) -> Option<bool> {
    let mut extensions = Elements(extensions);
    let mut found = None;
    while !extensions.0.is_empty() {
        let mut extension = Elements(extensions.take(SEQUENCE)?);
        let id = extension.take(OBJECT_ID)?;
        let _critical = extension.take_if(BOOLEAN)?;
        let value = extension.take(OCTET_STRING)?;
        extension.end()?;
        if id == BASIC_CONSTRAINTS {
            let mut limits = Elements(whole(value, SEQUENCE)?);
            let is_ca = limits.take_if(BOOLEAN)?.map_or(Some(&[0][..]), Some)?;
            let _path_length = limits.take_if(INTEGER)?;
            limits.end()?;
            if found.replace(is_ca == [0xff]).is_some() || !matches!(is_ca, [0 | 0xff]) {
                return None;
            }
        }
    }
    Some(found.unwrap_or(false))
}

/// Returns the content of the only element in these bytes.
fn whole(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut elements = Elements(bytes);
    let content = elements.take(tag)?;
    elements.end().map(|()| content)
}

/// The elements of DER that were not read yet (X.690, section 8.1). Each element has a tag, a length and a content.
struct Elements<'d>(&'d [u8]);

impl<'d> Elements<'d> {
    /// Returns the content of the next element, which must have this tag.
    fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let [found, length, rest @ ..] = self.0 else {
            return None;
        };
        let (length, rest) = match *length {
            short @ 0..=0x7f => (usize::from(short), rest),
            // The number of bytes of the length. No certificate needs more than three.
            long @ 0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
                let length = bytes
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                // DER has only one form of a length: the shortest.
                let is_shortest = bytes[0] != 0 && length > 0x7f;
                (is_shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        (*found == tag).then_some(content)
    }

    /// Returns the content of the next element if the element has this tag.
    fn take_if(&mut self, tag: u8) -> Option<Option<&'d [u8]>> {
        if self.0.first() == Some(&tag) {
            self.take(tag).map(Some)
        } else {
            Some(None)
        }
    }

    /// Reads a time. A time of two digits for the year is in the years 1950 to 2049.
    fn take_time(&mut self) -> Option<Timestamp> {
        let (century, digits) = match self.take_if(UTC_TIME)? {
            Some(time) => (if *time.first()? < b'5' { "20" } else { "19" }, time),
            None => ("", self.take(GENERALIZED_TIME)?),
        };
        let text = format!("{century}{}", std::str::from_utf8(digits).ok()?);
        let part = |from: usize, to: usize| text.get(from..to);
        let (date, time) = (
            [part(0, 4)?, part(4, 6)?, part(6, 8)?],
            [part(8, 10)?, part(10, 12)?, part(12, 14)?],
        );
        let zone = text.get(14..)?;
        format!("{}T{}{zone}", date.join("-"), time.join(":"))
            .parse()
            .ok()
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The object identifier 2.5.29.19.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = match u8::try_from(content.len()) {
            Ok(short @ 0..=0x7f) => vec![short],
            Ok(byte) => vec![0x81, byte],
            Err(_) => [
                &[0x82][..],
                &u16::try_from(content.len()).expect("short").to_be_bytes(),
            ]
            .concat(),
        };
        [&[tag], &length[..], content].concat()
    }

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        element(SEQUENCE, &parts.concat())
    }

    /// The extension "basic constraints" with this content.
    fn limits(content: &[u8]) -> Vec<u8> {
        let value = element(OCTET_STRING, &element(SEQUENCE, content));
        sequence(&[
            &element(OBJECT_ID, &BASIC_CONSTRAINTS),
            &element(BOOLEAN, &[0xff]),
            &value,
        ])
    }

    struct Parts {
        version: Vec<u8>,
        issuer: Vec<u8>,
        times: [Vec<u8>; 2],
        after_key: Vec<u8>,
    }

    impl Parts {
        fn with_extensions(extensions: &[&[u8]]) -> Self {
            let times = [
                element(UTC_TIME, b"260102030405Z"),
                element(GENERALIZED_TIME, b"20510102030405Z"),
            ];
            let after_key = element(EXTENSIONS, &sequence(extensions));
            Self {
                version: element(VERSION, &element(INTEGER, &[2])),
                issuer: vec![1; 200],
                times,
                after_key,
            }
        }

        fn encode(&self) -> Vec<u8> {
            let content = sequence(&[
                &self.version,
                &element(INTEGER, &[7]),
                &sequence(&[]),
                &element(SEQUENCE, &self.issuer),
                &sequence(&[&self.times[0], &self.times[1]]),
                &element(SEQUENCE, &[2; 300]),
                &sequence(&[]),
                &self.after_key,
            ]);
            sequence(&[&content, &sequence(&[]), &element(BIT_STRING, &[0, 9])])
        }

        fn read(&self) -> Option<CertificateFields> {
            CertificateFields::parse(&self.encode())
        }
    }

    fn is_ca(extensions: &[&[u8]]) -> Option<bool> {
        Parts::with_extensions(extensions)
            .read()
            .map(|fields| fields.is_ca)
    }

    #[test]
    fn the_fields_of_a_certificate_are_read() {
        let other = sequence(&[
            &element(OBJECT_ID, &[0x55, 0x1d, 0x11]),
            &element(OCTET_STRING, &[1]),
        ]);
        let read = Parts::with_extensions(&[&other])
            .read()
            .expect("the fields");
        let time = |text: &str| text.parse().expect("a time");
        let valid = ValidTime {
            not_before: time("2026-01-02T03:04:05Z"),
            not_after: time("2051-01-02T03:04:05Z"),
        };
        assert_eq!(
            read,
            CertificateFields {
                has_version_3: true,
                is_ca: false,
                valid
            }
        );
    }

    #[test]
    fn the_extension_basic_constraints_or_a_root_of_version_1_is_a_ca() {
        let (yes, no) = (element(BOOLEAN, &[0xff]), element(BOOLEAN, &[0]));
        assert_eq!(is_ca(&[&limits(&yes)]), Some(true));
        assert_eq!(
            is_ca(&[&limits(&[&yes[..], &element(INTEGER, &[0])].concat())]),
            Some(true)
        );
        assert_eq!(is_ca(&[&limits(&[])]), Some(false));
        assert_eq!(is_ca(&[&limits(&no)]), Some(false));
        for malformed in [
            limits(&element(BOOLEAN, &[1])),
            limits(&element(BOOLEAN, &[])),
            limits(&element(4, &[])),
        ] {
            assert_eq!(is_ca(&[&malformed]), None);
        }
        assert_eq!(
            is_ca(&[&limits(&no), &limits(&yes)]),
            None,
            "the extension occurs twice"
        );
        let mut root = Parts::with_extensions(&[]);
        (root.version, root.after_key) = (Vec::new(), Vec::new());
        assert!(
            root.read()
                .is_some_and(|fields| !fields.has_version_3 && !fields.is_ca)
        );
        root.issuer = vec![2; 300];
        assert!(
            root.read()
                .is_some_and(|fields| !fields.has_version_3 && fields.is_ca)
        );
    }

    #[test]
    fn only_the_versions_1_to_3_are_read() {
        let mut parts = Parts::with_extensions(&[]);
        for (version, has_version_3) in [
            (&[0][..], Some(false)),
            (&[1], Some(false)),
            (&[2], Some(true)),
        ] {
            parts.version = element(VERSION, &element(INTEGER, version));
            assert_eq!(
                parts.read().map(|fields| fields.has_version_3),
                has_version_3
            );
        }
        for version in [&[3][..], &[], &[0, 2], &[0xff]] {
            parts.version = element(VERSION, &element(INTEGER, version));
            assert_eq!(parts.read(), None, "{version:?}");
        }
    }

    #[test]
    fn a_time_has_only_the_two_forms_of_rfc_5280() {
        let time = |tag: u8, text: &str| {
            Elements(&element(tag, text.as_bytes()))
                .take_time()
                .map(|time| time.to_string())
        };
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", "1970-01-01T00:00:00Z"),
            (UTC_TIME, "991231235959Z", "1999-12-31T23:59:59Z"),
            (UTC_TIME, "000229000000Z", "2000-02-29T00:00:00Z"),
            (UTC_TIME, "491231235959Z", "2049-12-31T23:59:59Z"),
            (GENERALIZED_TIME, "20500101000000Z", "2050-01-01T00:00:00Z"),
            (GENERALIZED_TIME, "99991231235959Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(time(tag, text).as_deref(), Some(expected));
        }
        for (tag, text) in [
            (UTC_TIME, ""),
            (UTC_TIME, "2601020304Z"),
            (UTC_TIME, "260102030405"),
            (UTC_TIME, "260102030405+0000"),
            (UTC_TIME, "261302030405Z"),
            (UTC_TIME, "260230030405Z"),
            (UTC_TIME, "26010203040\u{e9}Z"),
            (UTC_TIME, "20260102030405Z"),
            (GENERALIZED_TIME, "260102030405Z"),
            (GENERALIZED_TIME, "20260102030405.5Z"),
            (GENERALIZED_TIME, "20260102240405Z"),
            (OCTET_STRING, "260102030405Z"),
        ] {
            assert_eq!(time(tag, text), None, "{text}");
        }
    }

    #[test]
    fn a_cut_or_changed_certificate_is_refused_or_read_without_a_panic() {
        let yes = element(BOOLEAN, &[0xff]);
        let good = Parts::with_extensions(&[&limits(&yes)]).encode();
        assert!(CertificateFields::parse(&good).is_some());
        for end in 0..good.len() {
            assert_eq!(
                CertificateFields::parse(&good[..end]),
                None,
                "cut after {end} bytes"
            );
        }
        assert_eq!(
            CertificateFields::parse(&[&good[..], &[0]].concat()),
            None,
            "a byte after the end"
        );
        let mut refused = 0;
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut changed = good.clone();
                changed[at] ^= 1 << bit;
                refused += usize::from(CertificateFields::parse(&changed).is_none());
            }
        }
        assert!(refused > 400, "{refused}");
    }

    #[test]
    fn a_length_has_only_its_shortest_form() {
        let take = |bytes: &[u8]| Elements(bytes).take(OCTET_STRING).map(<[u8]>::len);
        let with = |head: &[u8], length: usize| [head, &vec![0; length]].concat();
        assert_eq!(take(&[4, 0]), Some(0));
        assert_eq!(take(&with(&[4, 0x7f], 0x7f)), Some(0x7f));
        assert_eq!(take(&with(&[4, 0x81, 0x80], 0x80)), Some(0x80));
        assert_eq!(take(&with(&[4, 0x82, 1, 0], 0x100)), Some(0x100));
        assert_eq!(take(&with(&[4, 0x83, 1, 0, 0], 0x1_0000)), Some(0x1_0000));
        for malformed in [
            &[][..],
            &[4],
            &[4, 0x80],
            &[4, 0x81],
            &[4, 0x81, 0x7f],
            &[4, 0x82, 0, 0x80],
            &[4, 0xff],
        ] {
            assert_eq!(take(&with(malformed, 0)), None);
        }
        assert_eq!(take(&with(&[4, 0x84, 0, 0, 0, 1], 1)), None);
        assert_eq!(take(&with(&[4, 0x81, 0x7f], 0x7f)), None);
        assert_eq!(take(&with(&[4, 0x82, 0, 0x80], 0x80)), None);
        assert_eq!(take(&[5, 0]), None);
    }
}
