//! Leaves the checks of the newest roster open if a newer trusted roster is not connected with a bundle.

use crate::{
    BundleReport, CheckFinding, CheckName, TrustedRoster, VerifyOptions, VersionFacts,
    audit::receipt_facts,
};

/// Sets each result that only the newest roster can establish to *not checked*. The roster `newer` is trusted, but the
/// rosters of the bundle are not connected with `newer`.
pub fn leave_to(newer: &TrustedRoster, report: &mut BundleReport, options: VerifyOptions) {
    let why = format!(
        "version {} of the roster ({}) is trusted too, but no version that you gave connects the bundle with it: give the \
         missing versions with --roster, or only the roster to use",
        newer.version(),
        newer.digest()
    );
    report.trust.newest = Some(VersionFacts::of(newer));
    let seen = report
        .facts
        .as_mut()
        .map(|facts| std::mem::take(&mut facts.witnesses))
        .unwrap_or_default();
    report.boundary_says = receipt_facts::boundary_says(&[], report.facts.as_deref());
    let has_witnesses = !seen.is_empty() || !newer.tables().witnesses.is_empty();
    for check in report
        .checks
        .iter_mut()
        .filter(|check| check.finding == CheckFinding::Established)
    {
        check.finding = match check.name {
            CheckName::KeysStillRostered => CheckFinding::NotChecked,
            CheckName::Witnesses if options.witnesses > 0 => CheckFinding::Failed,
            CheckName::Witnesses if has_witnesses => CheckFinding::NotChecked,
            _ => continue,
        };
        check.detail.clone_from(&why);
        report.verified &= check.finding != CheckFinding::Failed;
    }
}
