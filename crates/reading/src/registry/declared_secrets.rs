//! Reads the secrets that a block declares: `secrets="db=env:DB_PASSWORD, tls-key=file:TLS_KEY, ca"`.

use documents::{IdentError, OWN_VARIABLES, SecretAs, SecretName, StepSecret, Variable};

/// Maximum number of secrets of a step.
const MAX_SECRETS: usize = 32;

/// Reads a list of secrets. `NAME=env:VARIABLE` is a secret in a variable. `NAME=file:VARIABLE` is a secret in a file, and
/// the variable contains the path of the file. `NAME` is a secret in a file without a variable. The result is sorted by
/// name, like every array of a definition.
pub fn declared_secrets(text: &str) -> Result<Vec<StepSecret>, String> {
    let mut found: Vec<StepSecret> = Vec::new();
    for one in text.split(',').map(str::trim) {
        let (name, rest) = one
            .split_once('=')
            .map_or((one, None), |(name, rest)| (name.trim(), Some(rest.trim())));
        let name: SecretName = name
            .parse()
            .map_err(|error: IdentError| error.to_string())?;
        let (given, variable) = match rest.map(|rest| rest.split_once(':')) {
            None => (SecretAs::File, None),
            Some(Some(("file", variable))) => (SecretAs::File, Some(variable)),
            Some(Some(("env", variable))) => (SecretAs::Env, Some(variable)),
            Some(_) => {
                let name = name.as_str();
                return Err(format!(
                    "{one:?} is not valid: write {name}=env:VARIABLE, {name}=file:VARIABLE or {name}"
                ));
            }
        };
        if let Some(own) = variable.filter(|variable| OWN_VARIABLES.contains(variable)) {
            return Err(format!(
                "the variable {own} belongs to the sandbox: choose another variable"
            ));
        }
        let variable: Option<Variable> = variable
            .map(str::parse)
            .transpose()
            .map_err(|error: IdentError| error.to_string())?;
        if found.iter().any(|other| other.name == name) {
            return Err(format!(
                "the secret {} is listed twice: list each secret once",
                name.as_str()
            ));
        }
        if let Some(twice) = variable.as_ref().filter(|one| {
            found
                .iter()
                .any(|other| other.variable.as_ref() == Some(*one))
        }) {
            return Err(format!(
                "the variable {} is used twice: choose another variable",
                twice.as_str()
            ));
        }
        found.push(StepSecret {
            name,
            given,
            variable,
        });
    }
    if found.len() > MAX_SECRETS {
        return Err(format!(
            "a step has at most {MAX_SECRETS} secrets: remove some of them"
        ));
    }
    found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_declared_in_a_variable_or_in_a_file() {
        let found = declared_secrets("tls=file:TLS_KEY, db = env:DB_PASSWORD,ca").expect("secrets");
        let facts: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.given,
                    one.variable.as_ref().map(|variable| variable.as_str()),
                )
            })
            .collect();
        let expected = [
            ("ca", SecretAs::File, None),
            ("db", SecretAs::Env, Some("DB_PASSWORD")),
            ("tls", SecretAs::File, Some("TLS_KEY")),
        ];
        assert_eq!(facts, expected);
        for (bad, words) in [
            ("", "a secret's name"),
            ("a b", "a secret's name"),
            ("db=DB", "write db=env:VARIABLE"),
            ("db=argv:DB", "write db=env:VARIABLE"),
            ("db=env:", "a variable"),
            ("db=env:PARAM_DB", "a variable"),
            ("db=env:PATH", "belongs to the sandbox"),
            ("db=env:A,db", "listed twice"),
            ("db=env:A,b=file:A", "used twice"),
        ] {
            let error = declared_secrets(bad).expect_err(bad);
            assert!(error.contains(words), "{bad}: {error}");
        }
    }
}
