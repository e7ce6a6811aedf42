//! Question: do the signed permissions and the signed sandbox include everything that policy requires now?

use serde_json::Value;

use documents::{Code, Permission, Profile, joined};
use reading::{DenialGround, PolicyDenied, SandboxPermission};

/// Proof that the approvers signed every permission that policy requires now. Only [`check_permissions`] constructs
/// this proof.
#[derive(Debug)]
#[must_use]
pub struct PermissionsCovered(());

/// Proof that the current sandbox is the signed sandbox. Only [`check_profile`] constructs this proof.
#[derive(Debug)]
#[must_use]
pub struct ProfileHolds(());

/// Checks that policy allows the step, and that the approvers signed all permissions that policy requires now.
///
/// Two permissions are equal if their fields `type`, `what` and `why` are equal. The approvers may have signed
/// additional permissions, because an earlier policy may have required more.
///
/// # Errors
/// Returns an error if policy denies the step, or requires a permission that was not signed.
pub fn check_permissions(
    asked: &Result<Vec<Permission>, PolicyDenied>,
    signed: &[Permission],
) -> Result<PermissionsCovered, PermissionsError> {
    let asked = asked
        .as_ref()
        .map_err(|denied| PermissionsError::Denied(denied.clone()))?;
    let missing: Vec<_> = asked
        .iter()
        .filter(|question| !signed.contains(question))
        .cloned()
        .collect();
    if missing.is_empty() {
        Ok(PermissionsCovered(()))
    } else {
        Err(PermissionsError::NotSigned { missing })
    }
}

/// Checks that the current sandbox is the signed sandbox.
///
/// # Errors
/// Returns an error that lists all fields in which the two sandboxes differ.
pub fn check_profile(
    resolved: &Profile,
    signed: &Profile,
) -> Result<ProfileHolds, PermissionsError> {
    if resolved == signed {
        return Ok(ProfileHolds(()));
    }
    let json = |profile| serde_json::to_value(profile).unwrap_or_default();
    let (resolved, signed): (Value, Value) = (json(resolved), json(signed));
    let permissions = SandboxPermission::ALL.map(SandboxPermission::word);
    let fields = ["require"]
        .into_iter()
        .chain(permissions)
        .chain(["limits", "programs"]);
    let fields = fields
        .filter(|field| resolved.get(field) != signed.get(field))
        .collect();
    Err(PermissionsError::OtherSandbox { fields })
}

/// Reason why the signed permissions or the signed sandbox do not suffice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionsError {
    /// Policy denies the step, even with signatures.
    #[error(transparent)]
    Denied(PolicyDenied),
    /// Policy requires permissions that the approvers did not sign.
    #[error(
        "policy now requires {}, but no approver signed this; propose again",
        joined(.missing.iter().map(|permission| &permission.what), ", ")
    )]
    NotSigned {
        /// The missing permissions.
        missing: Vec<Permission>,
    },
    /// The current sandbox differs from the signed sandbox.
    #[error("the current sandbox differs from the signed sandbox in {}; propose again", .fields.join(", "))]
    OtherSandbox {
        /// The names of the fields that differ.
        fields: Vec<&'static str>,
    },
}

impl PermissionsError {
    /// Returns true if another program version may decide differently, because the decision depends on the parsing of
    /// the script.
    pub fn rests_on_reading(&self) -> bool {
        !matches!(self, Self::Denied(denied) if denied.ground == DenialGround::Mode)
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Denied(_) => Code::PolicyDenied,
            Self::NotSigned { .. } | Self::OtherSandbox { .. } => Code::ContextChanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::quorum::tests::authorization;
    use documents::{PermissionKind, PermissionReason};

    #[test]
    fn every_required_permission_must_be_signed_with_the_same_reason() {
        let kubectl = Permission {
            kind: PermissionKind::Run,
            what: "kubectl".into(),
            why: PermissionReason::Unlisted,
        };
        let other = Permission {
            why: PermissionReason::BuiltInDeny,
            ..kubectl.clone()
        };
        let asked = Ok(vec![kubectl.clone()]);
        assert!(
            check_permissions(&asked, &[other.clone(), kubectl]).is_ok(),
            "more may be signed"
        );
        let error = check_permissions(&asked, &[other]).expect_err("another reason");
        assert_eq!(error.code(), Code::ContextChanged);
    }

    #[test]
    fn a_changed_sandbox_is_refused_as_context_changed() {
        let signed = authorization().sandbox;
        assert!(check_profile(&signed, &signed).is_ok());
        let mut resolved = signed.clone();
        resolved.limits.memory_bytes += 1;
        resolved.require.pop();
        let error = check_profile(&resolved, &signed).expect_err("another");
        assert_eq!(
            error,
            PermissionsError::OtherSandbox {
                fields: vec!["require", "limits"]
            }
        );
        assert_eq!(error.code(), Code::ContextChanged);
    }
}
