//! The ID token of the CI job in which the client runs. It opens a token of the boundary without a stored secret.

use documents::joined;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use ureq::Agent;

use crate::{Address, CommandFailure, CommandResult, PrintableText, Secret, TlsFiles};
use wire::ProxyAddress;

/// The variable with an ID token, which GitLab sets for `id_tokens`.
const GIVEN: &str = "COUNTERSIGN_ID_TOKEN";
/// The variables with which GitHub gives ID tokens to jobs with `permissions: id-token: write`.
const GITHUB: [&str; 2] = [
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
];
/// Maximum size of the answer of GitHub in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;
/// Time limit of the request to GitHub.
const ANSWER: Duration = Duration::from_secs(30);

/// Where the client gets the ID token of its job.
#[derive(Debug, Clone)]
pub struct JobIdentity(IdTokenSource);

#[derive(Debug, Clone)]
enum IdTokenSource {
    Given(Secret),
    /// The URL and the bearer of the request, and the audience.
    GitHub(String, Secret, String),
}

impl JobIdentity {
    /// Reads the variables of the job. The audience names the boundary, if the caller knows its id. The boundary itself is
    /// never asked, because another server at its address could answer with the id of any boundary that trusts this job.
    ///
    /// # Errors
    /// Returns an error if the process runs in no job that can get an ID token, if the audience is missing, or if the given
    /// ID token is for another audience.
    pub fn of_process(audience: Option<String>) -> CommandResult<Self> {
        Self::of_variables(audience, |name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }

    fn of_variables(
        audience: Option<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> CommandResult<Self> {
        let source = match (variable(GIVEN), GITHUB.map(&variable)) {
            (Some(id_token), _) => {
                // The job of GitLab names the audience itself.
                if let Some(audience) = audience.filter(|audience| !is_for(&id_token, audience)) {
                    return Err(CommandFailure::usage(format!(
                        "the ID token in {GIVEN} is not for the audience {audience}, so it was not sent: write this audience \
                         to `aud` below `id_tokens`, or correct --boundary-id (COUNTERSIGN_BOUNDARY)"
                    )));
                }
                IdTokenSource::Given(Secret::new(&id_token))
            }
            (None, [Some(url), Some(token)]) => {
                let audience = audience.ok_or_else(|| {
                    CommandFailure::usage(
                        "--oidc needs the id of the boundary, because otherwise another server could get an ID token for \
                         this boundary: give --boundary-id sha256:... (COUNTERSIGN_BOUNDARY). The id is the part after \
                         `countersign:` in the audience that `countersign token create --oidc` printed, and `countersign \
                         serve` prints it, too",
                    )
                })?;
                IdTokenSource::GitHub(url, Secret::new(&token), audience)
            }
            (None, _) if variable("GITHUB_ACTIONS").is_some() => {
                return Err(CommandFailure::usage(
                    "--oidc: GitHub gives this job no ID token: add `permissions: {id-token: write}` to the job",
                ));
            }
            (None, _) => {
                return Err(CommandFailure::usage(format!(
                    "--oidc needs the ID token of a CI job. In GitHub Actions, add `permissions: {{id-token: write}}` to the \
                     job. In GitLab, add `id_tokens: {{{GIVEN}: {{aud: AUDIENCE}}}}` to the job, with the audience that \
                     `countersign token create --oidc` printed"
                )));
            }
        };
        Ok(Self(source))
    }

    /// Returns an ID token.
    ///
    /// # Errors
    /// Returns an error if GitHub gives no ID token.
    pub(super) fn id_token(&self, proxy: Option<&ProxyAddress>) -> CommandResult<Secret> {
        match &self.0 {
            IdTokenSource::Given(id_token) => Ok(id_token.clone()),
            IdTokenSource::GitHub(url, token, audience) => of_github(url, token, audience, proxy),
        }
    }
}

/// Returns true if the claim `aud` of an ID token is this audience. The boundary verifies the ID token.
fn is_for(id_token: &str, audience: &str) -> bool {
    let claims = id_token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    claims.is_some_and(|claims| match &claims["aud"] {
        Value::Array(audiences) => audiences.iter().any(|one| one == audience),
        one => one == audience,
    })
}

/// Asks GitHub for an ID token of this job.
fn of_github(
    url: &str,
    token: &Secret,
    audience: &str,
    proxy: Option<&ProxyAddress>,
) -> CommandResult<Secret> {
    let server = joined(url.split('/').take(3), "/");
    let address = Address::parse(&server)?;
    address.check_private("the request for an ID token")?;
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(ANSWER));
    if address.uses_tls() {
        let proxy = proxy.and_then(ProxyAddress::proxy);
        config = config
            .https_only(true)
            .tls_config(TlsFiles::default().config()?)
            .proxy(proxy);
    }
    let between = if url.contains('?') { '&' } else { '?' };
    let request = config
        .build()
        .new_agent()
        .get(format!("{url}{between}audience={audience}"));
    let answer = request
        .header("authorization", format!("Bearer {}", *token.0))
        .call();
    let mut answer = answer.map_err(failed)?;
    let body = answer
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_vec();
    let body = body.map_err(failed)?;
    if answer.status().as_u16() != 200 {
        return Err(failed(format!(
            "its answer has the status {}",
            answer.status().as_u16()
        )));
    }
    let body: Value = serde_json::from_slice(&body).map_err(|_| failed("its answer is no JSON"))?;
    body["value"]
        .as_str()
        .map(Secret::new)
        .ok_or_else(|| failed("its answer has no `value`"))
}

fn failed(why: impl std::fmt::Display) -> CommandFailure {
    let why = PrintableText::text(&why.to_string());
    CommandFailure::unreachable(format!("GitHub gave no ID token for this job: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_gives_its_id_token_or_a_message_about_what_is_missing() {
        let of_audience = |audience: Option<&str>, variables: &[(&str, &str)]| {
            let find = |name: &str| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            JobIdentity::of_variables(audience.map(str::to_owned), find)
                .map(|job| job.0)
                .map_err(|failure| failure.message)
        };
        let of = |variables: &[(&str, &str)]| of_audience(Some("countersign:a"), variables);
        let github = [
            (GITHUB[0], "https://github.example/?a=b"),
            (GITHUB[1], "t"),
            ("GITHUB_ACTIONS", "true"),
        ];
        assert!(matches!(of(&github), Ok(IdTokenSource::GitHub(..))));
        assert!(
            of_audience(None, &github).is_err_and(|message| message.contains("--boundary-id")),
            "nothing is asked"
        );
        let given = |claims: &str| format!("a.{}.c", URL_SAFE_NO_PAD.encode(claims));
        for right in [
            r#"{"aud":"countersign:a"}"#,
            r#"{"aud":["countersign:a"]}"#,
            r#"{"aud":["b","countersign:a"]}"#,
        ] {
            assert!(matches!(
                of(&[github[0], github[1], (GIVEN, &given(right))]),
                Ok(IdTokenSource::Given(_))
            ));
        }
        for wrong in [
            given(r#"{"aud":"countersign:b"}"#),
            given(r#"{"aud":["a","b"]}"#),
            "a.b.c".to_owned(),
        ] {
            assert!(
                of(&[(GIVEN, &wrong)]).is_err_and(|message| message.contains("was not sent")),
                "{wrong}"
            );
            assert!(
                matches!(
                    of_audience(None, &[(GIVEN, &wrong)]),
                    Ok(IdTokenSource::Given(_))
                ),
                "the job chose it"
            );
        }
        assert!(of(&github[1..]).is_err_and(
            |message| message.contains("id-token: write") && !message.contains("GitLab")
        ));
        assert!(of(&[]).is_err_and(
            |message| message.contains("id-token: write") && message.contains("id_tokens")
        ));
    }
}
