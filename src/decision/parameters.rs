//! Do the signed parameters fit the step's schema, complete?

use std::fmt;

use crate::record::authorization::Authorization;
use crate::record::code::Code;
use crate::registry::parameters::{ParameterError, ParameterSchema, Params};
use crate::registry::schema::SchemaFlaw;

/// The signed parameters fit, and what a run gets of them; only [`check_parameters`] makes it.
#[derive(Debug)]
#[must_use]
pub struct ParametersFit(Params);

impl ParametersFit {
    /// The parameters.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.0
    }
}

/// Checks that the signed parameters are exactly what the schema asks for: every default filled in, nothing more.
///
/// # Errors
/// Everything that does not fit; or a digest that is not theirs.
pub fn check_parameters(signed: &Authorization, schema: &ParameterSchema) -> Result<ParametersFit, ParametersError> {
    let params = schema.check(&signed.params).map_err(ParametersError::Invalid)?;
    // The subject's digest was compared when the statement was read; this is the one that a run is given.
    match signed.params_digest() {
        Ok(digest) if digest == params.digest() => Ok(ParametersFit(params)),
        _ => Err(ParametersError::OtherDigest),
    }
}

/// Why the parameters are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParametersError {
    /// They don't fit the schema.
    Invalid(Vec<ParameterError>),
    /// The step's schema is outside the closed subset.
    Schema(Vec<SchemaFlaw>),
    /// Their digest is not the signed one.
    OtherDigest,
}

impl ParametersError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::Schema(_) => Code::InvalidParams,
            Self::OtherDigest => Code::ParamsMismatch,
        }
    }
}

impl fmt::Display for ParametersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, texts: Vec<String>| f.write_str(&texts.join("; "));
        match self {
            Self::Invalid(errors) => joined(f, errors.iter().map(ToString::to_string).collect()),
            Self::Schema(flaws) => {
                f.write_str("the step's parameter schema: ")?;
                joined(f, flaws.iter().map(ToString::to_string).collect())
            }
            Self::OtherDigest => {
                f.write_str("the parameters are not the ones whose digest was signed; propose it again")
            }
        }
    }
}

impl std::error::Error for ParametersError {}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::decision::quorum::tests::{authorization, definition};

    fn judge(params: Value) -> Result<(), Code> {
        let schema = ParameterSchema::compile(&definition()["params"]).expect("golden schema");
        let mut signed = authorization();
        signed.params = params;
        check_parameters(&signed, &schema).map(|_| ()).map_err(|error| error.code())
    }

    #[test]
    fn signed_parameters_are_complete_and_nothing_more() {
        assert_eq!(judge(json!({"drain": true, "host": "web-3"})), Ok(()));
        for bad in [
            json!({"host": "web-3"}),
            json!({"drain": true}),
            json!({"drain": true, "host": "web-3", "more": 1}),
            json!({"drain": "true", "host": "web-3"}),
            json!({"drain": true, "host": "web-3\n"}),
            json!({"drain": true, "host": "-oProxyCommand"}),
        ] {
            assert_eq!(judge(bad.clone()), Err(Code::InvalidParams), "{bad}");
        }
    }
}
