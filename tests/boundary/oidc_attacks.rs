//! ID tokens that an attacker made, changed or took from somewhere else. Each is refused by the name of what is wrong.

use serde_json::{Value, json};

use crate::issuer::{SigningKey, encoded};
use crate::oidc::{MAIN, admit, bearer, ci, create, world};
use crate::support::people::now;
use crate::support::{exited, said};

#[test]
fn each_id_token_that_an_attacker_made_is_refused_by_the_name_of_what_is_wrong() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let audience = ci(&world, &issuer);
    let (other, elliptic) = (SigningKey::p256(), SigningKey::p256());
    let mut small = issuer.key().jwk("small");
    small["n"] = encoded([0xff; 128]).into();
    issuer.publish(&[
        issuer.key().jwk("rsa"),
        elliptic.jwk("ec"),
        small,
        other.jwk("twice"),
        elliptic.jwk("twice"),
    ]);
    let claims = |change: Value| issuer.claims(&audience, &change);
    let good = claims(json!({})).to_string();
    let text = |header: &str, claims: &str| issuer.key().sign_text(header, claims);
    let unsigned = |header: &str| format!("{}.{}.", encoded(header), encoded(&good));
    // The public modulus of the RSA key as the secret of an HMAC.
    let with_hmac = {
        let signed = format!(
            "{}.{}",
            encoded(r#"{"alg":"HS256","kid":"rsa"}"#),
            encoded(&good)
        );
        let secret = issuer.key().jwk("rsa")["n"]
            .as_str()
            .expect("a modulus")
            .to_owned();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
        format!(
            "{signed}.{}",
            encoded(ring::hmac::sign(&key, signed.as_bytes()))
        )
    };
    let id_token = |change: Value| issuer.id_token(&audience, &change);
    let twice = good.replacen('{', r#"{"sub":"a","#, 1);
    let good_token = id_token(json!({}));
    let (signed, signature) = good_token.rsplit_once('.').expect("three parts");
    let cut = &signature[..signature.len() - 2];
    let foreign = id_token(json!({"ref": "refs/heads/evil"}));
    let spliced = format!(
        "{}.{signature}",
        foreign.rsplit_once('.').expect("three parts").0
    );
    for (what, id_token, code, why) in [
        (
            "the algorithm none",
            unsigned(r#"{"alg":"none","kid":"rsa"}"#),
            "unauthenticated",
            "`alg`",
        ),
        (
            "no signature",
            unsigned(r#"{"alg":"RS256","kid":"rsa"}"#),
            "bad-signature",
            "signature",
        ),
        (
            "HS256 with the RSA key",
            with_hmac,
            "unauthenticated",
            "`alg`",
        ),
        (
            "an algorithm of another key",
            text(r#"{"alg":"ES256","kid":"rsa"}"#, &good),
            "unauthenticated",
            "`alg`",
        ),
        (
            "RS512",
            text(r#"{"alg":"RS512","kid":"rsa"}"#, &good),
            "unauthenticated",
            "`alg`",
        ),
        (
            "an RSA signature for the other key",
            text(r#"{"alg":"ES256","kid":"ec"}"#, &good),
            "bad-signature",
            "signature",
        ),
        (
            "two `kid`",
            text(r#"{"alg":"RS256","kid":"x","kid":"rsa"}"#, &good),
            "malformed",
            "duplicate-key",
        ),
        (
            "a `kid` of two keys",
            other.sign_text(r#"{"alg":"ES256","kid":"twice"}"#, &good),
            "unauthenticated",
            "`kid`",
        ),
        (
            "no `kid`",
            text(r#"{"alg":"RS256"}"#, &good),
            "malformed",
            "`kid`",
        ),
        (
            "a small RSA key",
            issuer
                .key()
                .sign_text(r#"{"alg":"RS256","kid":"small"}"#, &good),
            "unauthenticated",
            "2,048",
        ),
        (
            "its own key",
            other.sign_text(
                &json!({"alg": "ES256", "kid": "own", "jwk": other.jwk("own")}).to_string(),
                &good,
            ),
            "unauthenticated",
            "`kid`",
        ),
        (
            "`crit`",
            text(r#"{"alg":"RS256","kid":"rsa","crit":["exp"]}"#, &good),
            "malformed",
            "`crit`",
        ),
        (
            "an access token",
            text(r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#, &good),
            "malformed",
            "`typ`",
        ),
        (
            "duplicate claims",
            text(r#"{"alg":"RS256","kid":"rsa"}"#, &twice),
            "malformed",
            "duplicate-key",
        ),
        (
            "a fourth part",
            format!("{good_token}.e30"),
            "malformed",
            "three parts",
        ),
        (
            "a cut signature",
            format!("{signed}.{cut}"),
            "bad-signature",
            "signature",
        ),
        (
            "claims of another token",
            spliced,
            "bad-signature",
            "signature",
        ),
        (
            "another issuer",
            id_token(json!({"iss": "https://issuer.example"})),
            "unauthenticated",
            "`iss`",
        ),
        (
            "the issuer with a slash",
            id_token(json!({"iss": format!("{}/", issuer.url)})),
            "unauthenticated",
            "`iss`",
        ),
        (
            "another boundary",
            id_token(json!({"aud": "countersign:sha256:00"})),
            "unauthenticated",
            "`aud`",
        ),
        (
            "an array of other audiences",
            id_token(json!({"aud": ["x", "y"]})),
            "unauthenticated",
            "`aud`",
        ),
        (
            "no audience",
            id_token(json!({"aud": null})),
            "unauthenticated",
            "`aud`",
        ),
        (
            "an ended token",
            id_token(json!({"exp": now() - 61})),
            "unauthenticated",
            "`exp`",
        ),
        (
            "an old token",
            id_token(json!({"iat": now() - 662})),
            "unauthenticated",
            "`iat`",
        ),
        (
            "a clock that is ahead",
            id_token(json!({"iat": now() + 90, "nbf": now() + 90})),
            "unauthenticated",
            "`iat`",
        ),
        (
            "not valid yet",
            id_token(json!({"nbf": now() + 90})),
            "unauthenticated",
            "`nbf`",
        ),
        (
            "no `jti`",
            id_token(json!({"jti": null})),
            "unauthenticated",
            "`jti`",
        ),
        (
            "another repository of this name",
            id_token(json!({"repository_id": "1235"})),
            "unauthenticated",
            "`repository_id`",
        ),
        (
            "another owner of this name",
            id_token(json!({"repository_owner_id": "57"})),
            "unauthenticated",
            "`repository_owner_id`",
        ),
        (
            "another branch",
            id_token(json!({"ref": "refs/heads/main2"})),
            "unauthenticated",
            "`ref`",
        ),
        (
            "a pull request",
            id_token(json!({"event_name": "pull_request"})),
            "unauthenticated",
            "`event_name`",
        ),
        (
            "an array as a claim",
            id_token(json!({"ref": ["refs/heads/main"]})),
            "unauthenticated",
            "`ref`",
        ),
        (
            "no bound claim",
            id_token(json!({"sha": null})),
            "unauthenticated",
            "`sha`",
        ),
        ("1 MB", "a".repeat(1_000_000), "too-large", "bytes"),
        (
            "17,000 bytes",
            id_token(json!({"more": "a".repeat(12_500)})),
            "too-large",
            "bytes",
        ),
        ("no text", String::new(), "malformed", "three parts"),
    ] {
        let refused = world.unchanged(|| admit(&world, &id_token).problem(code));
        assert!(
            refused["detail"].as_str().expect("words").contains(why),
            "{what}: {refused:#}"
        );
    }
    // None of these used up the ID token, and another key of the issuer opens the same token.
    bearer(&world, &good_token);
    bearer(
        &world,
        &elliptic.sign(
            "ec",
            &claims(json!({"aud": [audience], "iat": now() - 600, "exp": now() - 30})),
        ),
    );
    admit(&world, &good_token).refuses("unauthenticated", "`jti`");
    for body in [
        json!({}),
        json!({"id_token": 1}),
        json!({"id_token": "a", "jwks": {}}),
    ] {
        world
            .wire
            .post("/v1/admissions", "", &body)
            .problem("malformed");
    }
    // A second token for the same jobs makes the choice unclear.
    exited(create(&world, &issuer, "second", &MAIN), 0);
    admit(&world, &id_token(json!({}))).refuses("unauthenticated", "its claims fit two tokens");
}

#[test]
fn a_binding_without_the_claims_that_identify_its_jobs_is_refused() {
    let Some((world, issuer)) = world() else {
        return;
    };
    let words = |words: &[&str]| {
        let made = world
            .boundary_command(words)
            .arg("--config")
            .arg(world.path("b"))
            .output()
            .expect("token create");
        assert!(!made.status.success(), "{}", said(&made));
        said(&made)
    };
    let github = [
        "token",
        "create",
        "ci",
        "--oidc",
        "https://token.actions.githubusercontent.com",
    ];
    assert!(
        words(&[&github[..], &["--claim", "repository=acme/shop"]].concat())
            .contains("repository_owner_id")
    );
    assert!(words(&github).contains("--claim"));
    assert!(
        words(&[
            "token",
            "create",
            "ci",
            "--oidc",
            "https://gitlab.com",
            "--claim",
            "sub=a"
        ])
        .contains("ref_protected")
    );
    assert!(
        words(&[
            "token",
            "create",
            "ci",
            "--oidc",
            "http://i.example",
            "--claim",
            "sub=a"
        ])
        .contains("https://")
    );
    assert!(words(&["token", "create", "ci", "--claim", "sub=a"]).contains("--oidc"));
    let twice = [
        "token",
        "create",
        "ci",
        "--oidc",
        &issuer.url,
        "--claim",
        "sub=a",
        "--claim",
        "sub=b",
    ];
    assert!(words(&twice).contains("twice"));
    let out = [&github[..], &MAIN, &["--out", "file"]].concat();
    assert!(words(&out).contains("--out"));
    assert_eq!(
        world
            .control(&json!({"do": "token-list"}))
            .expect("tokens")
            .as_array()
            .map(Vec::len),
        Some(3)
    );
}
