//! An issuer of ID tokens: a TLS server with its configuration and its keys, and the endpoint at which a job of GitHub gets
//! an ID token.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by tests, which fail by panicking"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::certified::{Certificates, TlsProxy};
use crate::support::people::now;

/// The bearer with which a job asks GitHub for an ID token.
pub const REQUEST_TOKEN: &str = "request-token";

/// How the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Good,
    Redirects,
    Hangs,
    Endless,
    Broken,
}

struct State {
    issuer: String,
    keys: Vec<Value>,
    mood: Mood,
    /// The paths of all requests.
    asked: Vec<String>,
    /// The claims of the ID tokens that the job gets.
    claims: Value,
}

/// A key of the issuer.
pub enum SigningKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
}

pub struct Issuer {
    pub certificates: Certificates,
    pub url: String,
    /// The address without TLS, for the endpoint of the job.
    plain: String,
    proxy: TlsProxy,
    state: Arc<Mutex<State>>,
    rsa: Arc<SigningKey>,
}

pub fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl SigningKey {
    /// Makes an RSA key with openssl.
    pub fn rsa(certificates: &Certificates) -> Self {
        let size = "rsa_keygen_bits:2048";
        certificates.openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            size,
            "-outform",
            "DER",
            "-out",
            "rsa.der",
        ]);
        let bytes = std::fs::read(certificates.path("rsa.der")).expect("a key");
        Self::Rsa(RsaKeyPair::from_der(&bytes).expect("a key"))
    }

    pub fn p256() -> Self {
        let random = SystemRandom::new();
        let bytes =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Self::P256(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes.as_ref(), &random)
                .expect("a key"),
        )
    }

    pub const fn alg(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
        }
    }

    pub fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let PublicKeyComponents { n, e } =
                    PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": encoded(n), "e": encoded(e)})
            }
            Self::P256(pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
        }
    }

    /// Signs a JWT with this header and these claims, both as they are.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    signed.as_bytes(),
                    &mut signature,
                )
                .expect("signed");
                signature
            }
            Self::P256(pair) => pair
                .sign(&random, signed.as_bytes())
                .expect("signed")
                .as_ref()
                .to_vec(),
        };
        format!("{signed}.{}", encoded(signature))
    }

    pub fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"typ": "JWT", "alg": self.alg(), "kid": kid, "x5t": kid});
        self.sign_text(&header.to_string(), &claims.to_string())
    }
}

impl Issuer {
    /// An issuer with an RSA key `rsa`.
    pub fn new() -> Self {
        let certificates = Certificates::new();
        certificates.issue("server", "ca", crate::certified::HERE);
        let rsa = Arc::new(SigningKey::rsa(&certificates));
        let state = State {
            issuer: String::new(),
            keys: vec![rsa.jwk("rsa")],
            mood: Mood::Good,
            asked: Vec::new(),
            claims: Value::Null,
        };
        let (listener, state) = (
            TcpListener::bind("127.0.0.1:0").expect("a port"),
            Arc::new(Mutex::new(state)),
        );
        let plain = format!("http://{}", listener.local_addr().expect("an address"));
        let (shared, key) = (state.clone(), rsa.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, key) = (shared.clone(), key.clone());
                std::thread::spawn(move || answer(&stream, &shared, &key));
            }
        });
        let proxy = TlsProxy::new(&certificates, "server", &plain);
        let url = proxy.named_url();
        state.lock().expect("a lock").issuer.clone_from(&url);
        Self {
            certificates,
            url,
            plain,
            proxy,
            state,
            rsa,
        }
    }

    pub fn authority(&self) -> String {
        self.certificates.read("ca.pem")
    }

    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().expect("a lock").mood = mood;
    }

    /// Replaces all keys.
    pub fn publish(&self, keys: &[Value]) {
        self.state.lock().expect("a lock").keys = keys.to_vec();
    }

    /// Returns the number of requests for the keys and for the configuration.
    pub fn asked(&self) -> usize {
        self.state.lock().expect("a lock").asked.len()
    }

    /// Returns claims for a boundary, with these changes. `null` removes a claim.
    pub fn claims(&self, audience: &str, change: &Value) -> Value {
        let at = now();
        let mut claims = json!({
            "iss": self.url, "aud": audience, "iat": at, "nbf": at, "exp": at + 300, "jti": crate::support::people::nonce(),
            "sub": "repo:acme/shop:ref:refs/heads/main", "repository": "acme/shop", "repository_id": "1234",
            "repository_owner_id": "56", "ref": "refs/heads/main", "event_name": "push", "run_id": "42",
            "server_url": "https://github.example", "sha": "89abcdef89abcdef89abcdef89abcdef89abcdef",
        });
        for (name, value) in change.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        claims
            .as_object_mut()
            .expect("an object")
            .retain(|_, value| !value.is_null());
        claims
    }

    /// Returns an ID token of the issuer.
    pub fn id_token(&self, audience: &str, change: &Value) -> String {
        self.rsa.sign("rsa", &self.claims(audience, change))
    }

    pub fn key(&self) -> &SigningKey {
        &self.rsa
    }

    /// Returns the variables of a job of GitHub, whose ID tokens have these changed claims.
    pub fn job(&self, change: &Value) -> [(&'static str, String); 2] {
        let claims = self.claims("", change);
        self.state.lock().expect("a lock").claims = claims;
        [
            (
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                format!("{}/token?api-version=2.0", self.plain),
            ),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN.to_owned()),
        ]
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>, key: &SigningKey) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut bearer = String::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                value.clone_into(&mut bearer)
            }
            Some(_) => {}
            None => break,
        }
    }
    let (mood, issuer, keys, claims) = {
        let mut state = state.lock().expect("a lock");
        if !path.starts_with("/token") {
            state.asked.push(path.clone());
        }
        (
            state.mood,
            state.issuer.clone(),
            state.keys.clone(),
            state.claims.clone(),
        )
    };
    if let Some((_, audience)) = path.split_once("/token?api-version=2.0&audience=") {
        let mut claims = claims;
        claims["aud"] = audience.into();
        claims["jti"] = crate::support::people::nonce().into();
        let (status, body) = if bearer == format!("Bearer {REQUEST_TOKEN}") {
            (
                "200 OK",
                json!({"count": 1, "value": key.sign("rsa", &claims)}),
            )
        } else {
            ("401 Unauthorized", json!({}))
        };
        return write(stream, status, "", body.to_string().as_bytes());
    }
    match mood {
        Mood::Good => {}
        Mood::Redirects => {
            return write(
                stream,
                "302 Found",
                &format!("location: {issuer}/keys\r\n"),
                b"",
            );
        }
        Mood::Broken => return write(stream, "503 Service Unavailable", "", b""),
        Mood::Hangs => {
            // The connection ends with the client.
            let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = reader.read(&mut [0]);
            return None;
        }
        Mood::Endless => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n")
                .ok()?;
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
            return None;
        }
    }
    let body = match path.as_str() {
        "/.well-known/openid-configuration" => {
            json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")})
        }
        "/keys" => json!({"keys": keys}),
        _ => return write(stream, "404 Not Found", "", b""),
    };
    write(
        stream,
        "200 OK",
        "content-type: application/json\r\n",
        body.to_string().as_bytes(),
    )
}

fn write(mut stream: &TcpStream, status: &str, more: &str, body: &[u8]) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\n{more}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()
}
