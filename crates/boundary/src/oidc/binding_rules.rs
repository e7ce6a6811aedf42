//! Bindings, which state the jobs that a token without a secret is for: their rules, and their comparison with the
//! claims of an ID token.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    AdmittedCaller, BoundParameter, Caller, IssuerKeys, claim_text,
    oidc::id_token::{SignedClaims, refused},
    some_of,
};
use crossing::{Refusal, RequestResult, Sealed, fault};
use serde_json::Value;

use documents::{ContentDigest, OidcBinding, SealedToken, StepDefinition, StepRef};
use wire::{AdmittedJob, client_config};

const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// Suffix of the issuer of a GitHub Enterprise Server.
const GITHUB_SERVER: &str = "/_services/token";
const GITLAB: &str = "https://gitlab.com";
/// The claims that identify a repository of GitHub. The name does not, because another owner can use a name again.
const GITHUB_IDS: &[&str] = &["repository_id", "repository_owner_id"];
/// The claims that identify a project of GitLab, and whether its branch or tag is protected.
const GITLAB_IDS: &[&str] = &["project_id", "ref_protected"];
/// The claims that the boundary checks itself.
const CHECKED: &[&str] = &["aud", "exp", "iat", "iss", "jti", "nbf"];
/// The claims that state what started a job of GitHub or of GitLab, with the beginnings of the values for pull
/// requests.
const STARTED_BY: [(&str, &[&str]); 2] = [
    ("event_name", &["pull_request"]),
    (
        "pipeline_source",
        &["merge_request", "external_pull_request"],
    ),
];
const MOST_ENTRIES: usize = 32;
const MOST_BYTES: usize = 512;

/// Checks the binding of a new token, if it has one, and the files of the issuer.
///
/// # Errors
/// Returns `malformed` with the field, and what to write instead.
pub fn check_files(
    token: &SealedToken,
    jwks: Option<&str>,
    ca: Option<&str>,
) -> Result<(), Refusal> {
    let refuse = |place: &str, detail: String| Err(Refusal::malformed(place, detail));
    token.check()?;
    let digests = [jwks, ca].map(|file| Some(ContentDigest::of(file?.as_bytes())));
    if token.files() != digests {
        return refuse("/token/oidc", "the binding names other files".to_owned());
    }
    let Some(OidcBinding {
        issuer,
        claims,
        bind,
        ..
    }) = &token.oidc
    else {
        return Ok(());
    };
    let rest = issuer.strip_prefix("https://").filter(|rest| {
        let plain = rest
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b".-_~/:[]%".contains(&c));
        plain && (1..=MOST_BYTES).contains(&rest.len()) && !rest.starts_with(['/', ':'])
    });
    if rest.is_none() {
        return refuse(
            "/oidc/issuer",
            format!("{issuer:?} is no issuer: write the claim `iss`, which begins with https://"),
        );
    }
    let is_text = |text: &str| {
        !text.is_empty() && text.len() <= MOST_BYTES && !text.chars().any(char::is_control)
    };
    let entries = [("claims", claims), ("bind", bind)];
    for (place, map) in entries {
        if map.len() > MOST_ENTRIES
            || !map
                .iter()
                .all(|(name, value)| is_text(name) && is_text(value))
        {
            return refuse(
                &format!("/oidc/{place}"),
                format!(
                    "at most {MOST_ENTRIES} names and values of 1 to {MOST_BYTES} bytes, without control characters"
                ),
            );
        }
    }
    if let Some(name) = CHECKED.iter().find(|name| claims.contains_key(**name)) {
        return refuse(
            "/oidc/claims",
            format!("the boundary checks the claim `{name}` itself: leave it out"),
        );
    }
    let has = |names: &[&str]| names.iter().all(|name| claims.contains_key(*name));
    let is_github = is_of(issuer, GITHUB) || issuer.ends_with(GITHUB_SERVER);
    let needed = if is_github {
        (!has(GITHUB_IDS)).then_some(
            "repository_id and repository_owner_id, because names of repositories are used again",
        )
    } else if issuer == GITLAB {
        (!has(GITLAB_IDS)).then_some("project_id and ref_protected")
    } else {
        (!has(GITHUB_IDS) && !has(GITLAB_IDS) && !has(&["sub"]))
            .then_some("project_id and ref_protected (GitLab), repository_id and repository_owner_id (GitHub), or sub")
    };
    if let Some(names) = needed {
        return refuse(
            "/oidc/claims",
            format!("a binding to {issuer} needs the claims {names}"),
        );
    }
    if let Some(Err(error)) = ca.map(|ca| client_config(Some(ca.as_bytes()), None)) {
        return refuse(
            "/oidc/ca",
            format!("the certificate authorities of the issuer can't be used: {error}"),
        );
    }
    if let Some(jwks) = jwks {
        match IssuerKeys::parse(jwks.as_bytes()) {
            Ok(keys) if keys.usable() > 0 => {}
            Ok(_) => {
                return refuse(
                    "/oidc/jwks",
                    "the file of --jwks has no key for RS256 or ES256 that can be used".to_owned(),
                );
            }
            Err(why) => {
                return refuse(
                    "/oidc/jwks",
                    format!("the file of --jwks can't be used: {why}"),
                );
            }
        }
    }
    Ok(())
}

/// Returns a sentence for each parameter of `--bind` that some steps of the new token don't have. Each proposal of
/// these steps would fail.
pub fn steps_without_parameter(token: &SealedToken, sealed: &Sealed) -> Vec<String> {
    let caller = Caller::of_token(token);
    let mut sentences = Vec::new();
    let bind = token.oidc.iter().flat_map(|binding| &binding.bind);
    for (name, claim) in bind {
        let lacks = |definition: &StepDefinition| {
            caller.reaches(&definition.reference) && definition.params.key(name).is_none()
        };
        let steps = sealed
            .registry
            .steps()
            .filter(|step| lacks(&step.definition));
        let steps: Vec<&StepRef> = steps.map(|step| &step.definition.reference).collect();
        if !steps.is_empty() {
            sentences.push(format!(
                "every proposal of {} will be refused, because --bind {name}={claim} needs a parameter {name}, which the step \
                 does not have: add the parameter to the step, or revoke the token and create one with another --step",
                some_of(&steps)
            ));
        }
    }
    sentences
}

/// Returns the first claim that keeps the ID token from fitting the binding, with the number of claims that agree
/// before it. The result is `None` if the ID token fits.
pub fn differing<'b>(
    binding: &'b OidcBinding,
    claims: SignedClaims<'_>,
) -> Option<(usize, &'b str)> {
    // The number 7 and the text "7" are different values.
    let differs = |(name, value): (&String, &String)| claims.string(name) != Some(value);
    if let Some((agree, (name, _))) = binding
        .claims
        .iter()
        .enumerate()
        .find(|(_, claim)| differs(*claim))
    {
        return Some((agree, name));
    }
    // Unless the binding names the claim, refuse jobs of pull requests: anybody can open a pull request, and its job
    // runs code that nobody reviewed. Also refuse a value that is no text, because it could hide a pull request.
    let of_pull_request = |name: &str, values: &[&str]| match claims.string(name) {
        Some(text) => values.iter().any(|value| text.starts_with(value)),
        None => claims.value(name).is_some(),
    };
    let differs = STARTED_BY.iter().find(|(name, values)| {
        !binding.claims.contains_key(*name) && of_pull_request(name, values)
    });
    differs.map(|(name, _)| (binding.claims.len(), *name))
}

/// Returns the job and the bound parameters that the ID token states for a caller of a token with this binding.
///
/// # Errors
/// Returns `unauthenticated` if a claim of `--bind` is missing.
pub fn admitted(binding: &OidcBinding, claims: SignedClaims<'_>) -> RequestResult<AdmittedCaller> {
    let mut stated: BTreeMap<String, String> = binding.claims.clone();
    let mut bound = Vec::new();
    for (name, claim) in &binding.bind {
        let value = match claims.value(claim) {
            None => {
                return Err(refused(
                    claim,
                    &format!("is missing, but the parameter {name} must be equal to it"),
                )
                .into());
            }
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => {
                let why = format!(
                    "is no text, whole number or truth value, but the parameter {name} must be equal to it"
                );
                return Err(refused(claim, &why).into());
            }
            Some(value) => value.clone(),
        };
        stated.insert(claim.clone(), claim_text(&value).unwrap_or_default());
        bound.push(BoundParameter {
            name: name.clone(),
            claim: claim.clone(),
            value,
        });
    }
    let (issuer, bind) = (binding.issuer.clone(), binding.bind.clone());
    let job = AdmittedJob {
        job: job_page(&issuer, claims),
        issuer,
        claims: stated,
        bind,
    };
    let job = serde_json::to_string(&job).map_err(fault)?;
    let jti = claims.string("jti").unwrap_or_default().to_owned();
    Ok(AdmittedCaller {
        job: Arc::from(job),
        jti,
        bound,
    })
}

/// Returns the address of the job's page, or `None` if the claims of GitHub or GitLab don't state it. Each part that a
/// claim states has only plain characters, and the address of a server has only scheme, host and port.
fn job_page(issuer: &str, claims: SignedClaims<'_>) -> Option<String> {
    let path = |name: &str| {
        let plain = |text: &&str| {
            text.bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"._-/".contains(&c))
        };
        claims.string(name).filter(|text| {
            !text.is_empty() && !text.starts_with('/') && !text.contains("..") && plain(text)
        })
    };
    let number = |name: &str| {
        let digits = |text: &String| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        claims.value(name).and_then(claim_text).filter(digits)
    };
    if let (Some(repository), Some(run)) = (path("repository"), number("run_id")) {
        let server = match issuer.strip_suffix(GITHUB_SERVER) {
            Some(server) => server,
            None if is_of(issuer, GITHUB) => "https://github.com",
            None => claims.string("server_url")?,
        };
        return Some(format!(
            "{}/{repository}/actions/runs/{run}",
            plain_address(server, false)?
        ));
    }
    let (project, job) = (path("project_path")?, number("job_id")?);
    Some(format!(
        "{}/{project}/-/jobs/{job}",
        plain_address(issuer, true)?
    ))
}

/// Returns true if `issuer` is `known`, or an address below the path of `known`.
fn is_of(issuer: &str, known: &str) -> bool {
    issuer
        .strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns the address if it is an https address with only a host and a port. With `has_path`, it may also have a plain
/// path.
fn plain_address(address: &str, has_path: bool) -> Option<&str> {
    let address = address.trim_end_matches('/');
    let rest = address.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, "443"));
    let plain = |text: &str, more: &[u8]| {
        text.bytes()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    let is_path = path.is_empty() || has_path && plain(path, b"._-/") && !path.contains("..");
    let is_port = port.parse::<u16>().is_ok() && plain(port, b"");
    (!name.is_empty() && plain(name, b".-") && is_port && is_path).then_some(address)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use documents::{Code, Scope};

    use super::*;

    fn binding(issuer: &str, names: &[&str]) -> OidcBinding {
        let claims = names
            .iter()
            .map(|name| ((*name).to_owned(), "1".to_owned()))
            .collect();
        OidcBinding {
            issuer: issuer.to_owned(),
            claims,
            bind: BTreeMap::new(),
            jwks: None,
            ca: None,
        }
    }

    /// Returns a token that this binding opens.
    fn token(oidc: OidcBinding) -> SealedToken {
        SealedToken {
            name: "ci".parse().expect("a name"),
            owners: Vec::new(),
            scopes: vec![Scope::Propose],
            patterns: Vec::new(),
            expires_at: None,
            credential: oidc.credential().expect("a credential"),
            oidc: Some(oidc),
        }
    }

    fn check_binding(oidc: OidcBinding) -> Result<(), Refusal> {
        check_files(&token(oidc), None, None)
    }

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_binding_names_the_claims_that_identify_a_repository_for_ever() {
        let lab = "https://git.example/lab";
        for (issuer, names) in [
            (GITHUB, &["repository_id", "repository_owner_id", "ref"][..]),
            ("https://ghes.example/_services/token", GITHUB_IDS),
            (GITLAB, GITLAB_IDS),
            (lab, GITLAB_IDS),
            (lab, GITHUB_IDS),
            (lab, &["sub"]),
        ] {
            assert_eq!(
                check_binding(binding(issuer, names)),
                Ok(()),
                "{issuer} {names:?}"
            );
        }
        for (issuer, names, why) in [
            (GITHUB, &["repository", "sub"][..], "repository_id"),
            (GITHUB, &["repository_id", "ref"], "repository_owner_id"),
            (
                "https://token.actions.githubusercontent.com/",
                &["sub"],
                "repository_id",
            ),
            (
                "https://token.actions.githubusercontent.com/acme",
                &["sub"],
                "repository_id",
            ),
            (
                "https://ghes.example/_services/token",
                &["sub"],
                "repository_id",
            ),
            (GITLAB, &["project_id"], "ref_protected"),
            (GITLAB, &["sub"], "project_id"),
            (lab, &["ref"], "sub"),
            (lab, &["sub", "aud"], "`aud`"),
            (lab, &["sub", "jti"], "`jti`"),
            (lab, &["sub", ""], "names and values"),
            ("http://git.example", &["sub"], "https://"),
            ("https://", &["sub"], "https://"),
            ("https://a@git.example", &["sub"], "https://"),
            ("https://git.example/?a=b", &["sub"], "https://"),
            ("https://git.example/#a", &["sub"], "https://"),
        ] {
            let refusal = check_binding(binding(issuer, names)).expect_err(issuer);
            assert!(
                refusal.detail.contains(why) && refusal.code == Code::Malformed,
                "{issuer} {names:?}: {refusal}"
            );
        }
        let pinned = |jwks: &str| {
            let oidc = OidcBinding {
                jwks: Some(ContentDigest::of(jwks.as_bytes())),
                ..binding(lab, &["sub"])
            };
            check_files(&token(oidc), Some(jwks), None).expect_err("no keys")
        };
        let ca = OidcBinding {
            ca: Some(ContentDigest::of(b"no PEM")),
            ..binding(lab, &["sub"])
        };
        let refusal = check_files(&token(ca), None, Some("no PEM")).expect_err("no PEM");
        assert!(refusal.detail.contains("authorities"), "{refusal}");
        for jwks in ["{}", r#"{"keys":[{"kid":"a","kty":"oct"}]}"#] {
            let refusal = pinned(jwks);
            assert!(!refusal.detail.contains("other files"), "{refusal}");
        }
    }

    #[test]
    fn a_binding_has_its_own_credential_and_its_own_files() {
        let plain = binding("https://git.example", &["sub"]);
        let keys = OidcBinding {
            jwks: Some(ContentDigest::of(b"keys")),
            ..plain.clone()
        };
        let mut other = token(plain.clone());
        other.credential = token(keys.clone()).credential;
        let mut none = token(plain.clone());
        none.oidc = None;
        for (token, jwks, ca, why) in [
            (&other, None, None, "not the digest of its binding"),
            (&token(keys.clone()), None, None, "other files"),
            (&token(keys), Some("other keys"), None, "other files"),
            (&token(plain.clone()), Some("keys"), None, "other files"),
            (&token(plain), None, Some("authorities"), "other files"),
            (&none, Some("keys"), None, "other files"),
        ] {
            let refusal = check_files(token, jwks, ca).expect_err(why);
            assert!(refusal.detail.contains(why), "{refusal}");
        }
        assert_eq!(check_files(&none, None, None), Ok(()));
    }

    #[test]
    fn claims_are_compared_exactly_and_a_pull_request_only_counts_by_name() {
        let wanted = OidcBinding {
            claims: [("a", "1"), ("b", "true")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..binding("https://i.example", &[])
        };
        for (given, differs) in [
            (json!({"a": "1", "b": "true", "c": 2}), None),
            (json!({"a": 1, "b": "true"}), Some((0, "a"))),
            (json!({"a": "1", "b": true}), Some((1, "b"))),
            (json!({"a": "01", "b": "true"}), Some((0, "a"))),
            (json!({"a": "1", "b": "True"}), Some((1, "b"))),
            (json!({"a": "1"}), Some((1, "b"))),
            (json!({"a": ["1"], "b": "true"}), Some((0, "a"))),
            (json!({"a": "1", "b": "true", "event_name": "push"}), None),
            (
                json!({"a": "1", "b": "true", "event_name": "pull_request"}),
                Some((2, "event_name")),
            ),
            (
                json!({"a": "1", "b": "true", "event_name": "pull_request_target"}),
                Some((2, "event_name")),
            ),
            (
                json!({"a": "1", "b": "true", "event_name": ["pull_request"]}),
                Some((2, "event_name")),
            ),
            (
                json!({"a": "1", "b": "true", "event_name": null}),
                Some((2, "event_name")),
            ),
            (
                json!({"a": "1", "b": "true", "event_name": 1}),
                Some((2, "event_name")),
            ),
            (
                json!({"a": "1", "b": "true", "pipeline_source": "web"}),
                None,
            ),
            (
                json!({"a": "1", "b": "true", "pipeline_source": "merge_request_event"}),
                Some((2, "pipeline_source")),
            ),
            (
                json!({"a": "1", "b": "true", "pipeline_source": "external_pull_request_event"}),
                Some((2, "pipeline_source")),
            ),
        ] {
            assert_eq!(
                differing(&wanted, SignedClaims(&map(given.clone()))),
                differs,
                "{given}"
            );
        }
        let named = OidcBinding {
            claims: [("event_name".to_owned(), "pull_request".to_owned())].into(),
            ..binding("https://i.example", &[])
        };
        assert_eq!(
            differing(
                &named,
                SignedClaims(&map(json!({"event_name": "pull_request"})))
            ),
            None
        );
    }

    #[test]
    fn the_page_of_a_job_has_only_parts_of_plain_letters() {
        let page = |issuer: &str, claims: Value| job_page(issuer, SignedClaims(&map(claims)));
        let run = json!({"repository": "acme/shop", "run_id": "42"});
        assert_eq!(
            page(GITHUB, run.clone()).as_deref(),
            Some("https://github.com/acme/shop/actions/runs/42")
        );
        let server = page("https://ghes.example/_services/token", run.clone());
        assert_eq!(
            server.as_deref(),
            Some("https://ghes.example/acme/shop/actions/runs/42")
        );
        assert_eq!(
            page("https://i.example", run.clone()),
            None,
            "nobody says which server has the page"
        );
        for (server, known) in [
            ("https://git.example", true),
            ("https://git.example:8443", true),
            ("https://github.com@evil.example", false),
            ("https://github.com@evil.example/\u{202e}", false),
            ("https://git.example/x", false),
            ("https://git.example?x", false),
            ("https://git.example#x", false),
            ("https://git.example:8443:1", false),
            ("https://git.example:port", false),
            ("https://\u{262}it.example", false),
            ("https://", false),
            ("http://git.example", false),
        ] {
            let mut claims = run.clone();
            claims["server_url"] = json!(server);
            let expected = known.then(|| format!("{server}/acme/shop/actions/runs/42"));
            assert_eq!(page("https://i.example", claims), expected, "{server}");
        }
        let lab = page(
            "https://git.example",
            json!({"project_path": "group/shop", "job_id": "7"}),
        );
        assert_eq!(
            lab.as_deref(),
            Some("https://git.example/group/shop/-/jobs/7")
        );
        for bad in [
            json!({"repository": "acme/shop\u{202e}", "run_id": "42"}),
            json!({"repository": "acme/../x", "run_id": "42"}),
            json!({"repository": "acme/shop", "run_id": "42/../.."}),
            json!({"repository": "", "run_id": "42"}),
            json!({}),
        ] {
            assert_eq!(page(GITHUB, bad.clone()), None, "{bad}");
        }
        // The issuer of somebody else states the address of the server.
        let own = |server: &str| {
            page(
                "https://i.example",
                json!({"repository": "acme/shop", "run_id": "1", "server_url": server}),
            )
        };
        for good in [
            "https://git.example",
            "https://git.example:8443",
            "https://git.example/",
        ] {
            assert!(
                own(good).is_some_and(|page| page.ends_with("/acme/shop/actions/runs/1")),
                "{good}"
            );
        }
        for bad in [
            "https://github.com@evil.example",
            "https://github.com@evil.example/\u{202e}",
            "https://github.com:pass@evil",
            "https://evil.example/github.com",
            "https://evil.example?github.com",
            "https://evil.example#github.com",
            "https://git.example:99999",
            "https://git.example:",
            "https://",
            "https:///x",
            "https://\u{430}pple.example",
            "https://git.example\\x",
            "http://git.example",
            "https://[::1]@x",
        ] {
            assert_eq!(own(bad), None, "{bad}");
        }
        let lab = |issuer: &str| page(issuer, json!({"project_path": "group/shop", "job_id": "7"}));
        assert_eq!(
            lab("https://git.example/lab/").as_deref(),
            Some("https://git.example/lab/group/shop/-/jobs/7")
        );
        for bad in [
            "https://a%40b@git.example",
            "https://git.example/..",
            "https://git.example/%2e%2e",
        ] {
            assert_eq!(lab(bad), None, "{bad}");
        }
        let near = "https://token.actions.githubusercontent.com.evil.example";
        assert_eq!(
            page(near, json!({"repository": "acme/shop", "run_id": "42"})),
            None
        );
    }
}
