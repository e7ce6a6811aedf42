//! Question: does the signature of a passkey count under this policy?

use documents::{Code, is_of_synced_passkey};
use reading::PasskeysRule;

/// The program in which a person signed.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub enum SigningProgram {
    /// The person's own program, which holds the key and shows the document.
    Own,
    /// A browser with a passkey, which shows what a website sends.
    Browser,
}

/// Returns the program that made a verified signature.
///
/// # Errors
/// Returns an error if a passkey made the signature, and policy does not let this passkey count.
pub fn signing_program(
    signature: &[u8],
    rule: Option<PasskeysRule>,
) -> Result<SigningProgram, PasskeyError> {
    match (is_of_synced_passkey(signature), rule) {
        (None, _) => Ok(SigningProgram::Own),
        (Some(_), None) => Err(PasskeyError::NoRule),
        (Some(true), Some(rule)) if !rule.synced => Err(PasskeyError::Synced),
        (Some(_), Some(_)) => Ok(SigningProgram::Browser),
    }
}

/// Reason why the signature of a passkey does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// Policy has no `passkeys`.
    #[error("the policy in force has no `passkeys`, so no passkey counts; sign with another key")]
    NoRule,
    /// A service may copy the passkey, and `passkeys.synced` of policy is false.
    #[error(
        "a service may copy this passkey to other devices, and policy has `passkeys.synced: false`; sign with another \
         key"
    )]
    Synced,
}

impl PasskeyError {
    /// The stable code.
    pub fn code(self) -> Code {
        match self {
            Self::NoRule => Code::UnknownSigner,
            Self::Synced => Code::NotPermittedSigner,
        }
    }
}
