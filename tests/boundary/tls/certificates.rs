//! Pairs that a service can't use.

use crate::certified::{Certificates, HERE, Pair};

/// A pair that a service can't use.
pub(super) struct Unusable {
    pub(super) name: &'static str,
    pub(super) pair: Pair,
    /// Mode of the key file, if it is not 0600.
    pub(super) key_mode: Option<u32>,
    /// Words of the message.
    pub(super) words: &'static [&'static str],
}

/// Returns a pair for each reason.
pub(super) fn unusable(authority: &Certificates) -> Vec<Unusable> {
    let (good, other) = (
        authority.issue("good", "ca", HERE),
        authority.issue("other", "ca", HERE),
    );
    authority.openssl(&[
        "pkcs8",
        "-topk8",
        "-in",
        "good.key",
        "-out",
        "locked.key",
        "-passout",
        "pass:secret",
    ]);
    let case = |name, words| Unusable {
        name,
        pair: good.clone(),
        key_mode: None,
        words,
    };
    let with_key = |name, key: &str, words| Unusable {
        pair: Pair {
            key: key.to_owned(),
            ..good.clone()
        },
        ..case(name, words)
    };
    let with_certificate = |name, certificate: String, words| Unusable {
        pair: Pair {
            certificate,
            ..good.clone()
        },
        ..case(name, words)
    };
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let twice = format!("{}{}", good.certificate, half(&authority.read("ca.pem")));
    let expired = authority.issue_for(
        "expired",
        "ca",
        HERE,
        ("20200101000000Z", "20200201000000Z"),
    );
    let early = authority.issue_for("early", "ca", HERE, ("20980101000000Z", "20991231235959Z"));
    let body = good.certificate.replace("MI", "AB");
    vec![
        with_key(
            "mismatch",
            &other.key,
            &["key.pem: the key does not belong to the first certificate"],
        ),
        with_key("no key", "", &["key.pem: the file contains no private key"]),
        with_key(
            "half a key",
            &half(&good.key),
            &["key.pem: the file is not PEM", "half written"],
        ),
        with_key(
            "a certificate for a key",
            &good.certificate,
            &["key.pem: the file contains a certificate and no key"],
        ),
        Unusable {
            key_mode: Some(0o644),
            ..with_key(
                "swapped",
                &good.certificate,
                &["key.pem: the file contains a certificate and no key"],
            )
        },
        with_key(
            "locked key",
            &authority.read("locked.key"),
            &["the private key is encrypted"],
        ),
        with_certificate(
            "no certificate",
            String::new(),
            &["cert.pem: the file contains no certificate"],
        ),
        with_certificate(
            "garbage",
            "\0\u{7f}garbage".to_owned(),
            &["cert.pem: the file contains no certificate"],
        ),
        with_certificate(
            "half a certificate",
            half(&good.certificate),
            &["cert.pem: the file is not PEM"],
        ),
        with_certificate("half an issuer", twice, &["cert.pem: the file is not PEM"]),
        with_certificate(
            "damaged",
            body,
            &["cert.pem: certificate 1 of the file is malformed"],
        ),
        with_certificate(
            "issuer first",
            format!("{}{}", authority.read("ca.pem"), good.certificate),
            &["cert.pem: the first certificate is the certificate of a CA (CA:TRUE)"],
        ),
        with_certificate(
            "old version",
            Certificates::older_version(&good.certificate),
            &[
                "cert.pem: the first certificate does not have version 3",
                "-extfile",
            ],
        ),
        Unusable {
            pair: authority.issue("is-ca", "ca", &HERE.replace("CA:FALSE", "CA:TRUE")),
            ..case(
                "a CA",
                &[
                    "cert.pem: the first certificate is the certificate of a CA (CA:TRUE)",
                    "(CA:FALSE) first",
                ],
            )
        },
        Unusable {
            pair: expired,
            ..case(
                "expired",
                &["cert.pem: the certificate expired at 2020-02-01T00:00:00Z"],
            )
        },
        Unusable {
            pair: early,
            ..case(
                "early",
                &["cert.pem: the certificate is not valid before 2098-01-01"],
            )
        },
        Unusable {
            key_mode: Some(0o644),
            ..case(
                "open",
                &["key.pem: other users can read the key (mode 0644)"],
            )
        },
        Unusable {
            key_mode: Some(0o640),
            ..case(
                "group",
                &["key.pem: other users can read the key (mode 0640)"],
            )
        },
    ]
}
