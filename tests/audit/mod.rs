//! Tests of exports, audits, witnesses and bundles: everything that an auditor reads.

mod auditor_pages;
mod double_uses;
mod emergency_bundles;
mod grant_bundles;
mod grant_logs;
mod history_entries;
mod independent;
mod independent_history;
mod log_export;
mod log_mutation;
mod passkey_logs;
mod review_logs;
mod revocation_logs;
mod roster_versions;
mod session_and_plan_logs;
mod state_files;
mod verify_many;
mod whole_logs;
mod witness;
