//! Question: do the signed parameters fit the step's schema, and are the parameters complete?

use documents::{Authorization, Code, joined};
use reading::{ParameterError, ParameterSchema, Params};

/// Proof that the signed parameters fit the schema, with the parameters for the run. Only [`check_parameters`]
/// constructs this proof.
#[must_use]
pub struct ParametersFit(Params);

impl ParametersFit {
    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.0
    }
}

/// Checks that the signed parameters are exactly what the schema requires: every default is filled in, and no parameter
/// is extra.
///
/// # Errors
/// Returns an error that lists all parameters that do not fit the schema. Also returns an error if the digest belongs
/// to other parameters.
pub fn check_parameters(
    signed: &Authorization,
    schema: &ParameterSchema,
) -> Result<ParametersFit, ParametersError> {
    let params = schema
        .check(&signed.params)
        .map_err(ParametersError::Invalid)?;
    // The parser of the statement has already compared the digest in the subject with the statement. The run uses the
    // digest that this function computes.
    match signed.params_digest() {
        Ok(digest) if digest == params.digest() => Ok(ParametersFit(params)),
        _ => Err(ParametersError::OtherDigest),
    }
}

/// The reason why the boundary refuses the parameters.
#[derive(Debug, thiserror::Error)]
pub enum ParametersError {
    /// The parameters do not fit the schema.
    #[error("{}", joined(.0, "; "))]
    Invalid(Vec<ParameterError>),
    /// The signed digest is the digest of other parameters.
    #[error("the signed digest belongs to other parameters; propose again")]
    OtherDigest,
}

impl ParametersError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidParams,
            Self::OtherDigest => Code::ParamsMismatch,
        }
    }
}
