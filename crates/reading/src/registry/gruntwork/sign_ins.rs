//! Secrets of a step that names a sign-in block, for example `awsAuthId="aws"`.
//!
//! Gruntwork's blocks sign in through a browser and put the result into variables. The registry names the same
//! variables as secrets of the step: `aws.AWS_REGION` is the variable `AWS_REGION` of the block with the id `aws`.

use serde_json::Value;

use crate::{Element, YamlFlaw, refuse};
use documents::{SecretAs, StepSecret};

/// Attributes of a step that name a sign-in block.
pub const SIGN_INS: [&str; 4] = ["awsAuthId", "githubAuthId", "gitAuthId", "googleAuthId"];

const AWS: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
const GITHUB: &[&str] = &["GITHUB_TOKEN", "GITHUB_USER"];
const GITLAB: &[&str] = &["GITLAB_TOKEN", "GITLAB_USER"];
const GOOGLE: &[&str] = &[
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_CORE_ACCOUNT",
    "CLOUDSDK_CORE_PROJECT",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GOOGLE_PROJECT",
];
/// Variables of Google that contain the path of a file with the credentials.
const FILES: [&str; 2] = [
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Adds the secrets of the sign-in blocks to the secrets that a step declares, and sorts all by name.
pub fn add_secrets(
    step: &Element,
    page: &[Element],
    found: &mut Vec<StepSecret>,
    flaws: &mut Vec<YamlFlaw>,
) {
    for name in SIGN_INS {
        let Some(id) = step.text(name, flaws) else {
            continue;
        };
        let place = step.place_of(name);
        let Some(block) = page
            .iter()
            .find(|block| is_sign_in(block) && text(block, "id") == Some(id))
        else {
            let message = format!(
                "no sign-in block of the page has the id {id:?}: correct `{name}`, or add the block"
            );
            refuse(flaws, place, message);
            continue;
        };
        let Some(variables) = variables(name, block) else {
            let message = format!(
                "the block {id:?} is a <{}>, which `{name}` can't name: correct the id",
                block.name
            );
            refuse(flaws, place, message);
            continue;
        };
        for name in variables {
            let given = if FILES.contains(name) {
                SecretAs::File
            } else {
                SecretAs::Env
            };
            let (Ok(secret), Ok(variable)) = (format!("{id}.{name}").parse(), name.parse()) else {
                let message = format!(
                    "{id:?} can't be part of the name of a secret: use letters, digits and . _ -, begin with a letter, \
                     and use at most 24 bytes"
                );
                refuse(flaws, place, message);
                break;
            };
            if found
                .iter()
                .any(|other| other.variable.as_ref() == Some(&variable) || other.name == secret)
            {
                let message = format!(
                    "{} is already set by another sign-in block or by `secrets` of this step: name only one of the two",
                    variable.as_str()
                );
                refuse(flaws, place, message);
                break;
            }
            found.push(StepSecret {
                name: secret,
                given,
                variable: Some(variable),
            });
        }
    }
    found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
}

fn is_sign_in(element: &Element) -> bool {
    [
        "AwsAuth",
        "GitHubAuth",
        "GitLabAuth",
        "GitAuth",
        "GoogleAuth",
    ]
    .contains(&element.name.as_str())
}

fn text<'a>(element: &'a Element, name: &str) -> Option<&'a str> {
    element
        .attribute(name)?
        .value
        .as_ref()
        .and_then(Value::as_str)
}

/// Returns the variables that Gruntwork documents for a block, or `None` if the attribute can't name such a block.
fn variables(attribute: &str, block: &Element) -> Option<&'static [&'static str]> {
    let gitlab = text(block, "provider") == Some("gitlab");
    match (attribute, block.name.as_str()) {
        ("awsAuthId", "AwsAuth") => Some(AWS),
        ("googleAuthId", "GoogleAuth") => Some(GOOGLE),
        ("gitAuthId", "GitLabAuth") => Some(GITLAB),
        ("gitAuthId", "GitAuth") if gitlab => Some(GITLAB),
        ("gitAuthId" | "githubAuthId", "GitHubAuth") => Some(GITHUB),
        ("gitAuthId" | "githubAuthId", "GitAuth") if !gitlab => Some(GITHUB),
        _ => None,
    }
}
