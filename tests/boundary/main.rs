//! A running boundary over HTTP: proposals, approvals, refusals, runs and receipts.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../certified/mod.rs"]
mod certified;
#[path = "../commands/mod.rs"]
mod commands;
#[path = "../cosigner/mod.rs"]
mod cosigner;
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../issuer/mod.rs"]
mod issuer;
#[path = "../support/later_rows.rs"]
mod later_rows;
#[path = "../passkey/mod.rs"]
mod passkey;
#[path = "../second/mod.rs"]
mod second;
#[path = "../support/mod.rs"]
mod support;
#[path = "../terminal/mod.rs"]
mod terminal;

mod attacks;
mod behind_proxies;
mod changed_rows;
mod changed_tokens;
mod companion;
mod companion_grants;
mod companion_pages;
mod companion_reviews;
mod completions;
mod crossing;
mod data_growth;
mod desk;
mod desk_proxies;
mod ended;
mod estate;
mod every_boundary;
mod feed;
mod gate;
mod generated_client;
mod grants;
mod held_up;
mod hosts;
mod http;
mod imported;
mod json_log;
mod largest_authorizations;
mod many_steps;
mod mcp;
mod mcp_all;
mod mcp_answers;
mod mcp_attacks;
mod mcp_evidence;
mod mcp_grants;
mod mcp_problems;
mod mcp_proxy;
mod messages;
mod metrics;
mod nonces;
mod notebook;
mod notebook_attacks;
mod notebook_peers;
mod notebook_preview;
mod notebook_sessions;
mod oidc;
mod oidc_attacks;
mod opened_notebook;
mod other_users;
mod output;
mod outside;
mod passkeys;
mod permissions;
mod postgres_support;
mod problems;
mod programs;
mod proposals;
mod proposing_notebook;
mod proxies;
mod refusals;
mod refused_early;
mod repetitions;
mod restart;
mod reviews;
mod revocations;
mod run_results;
mod runbook_locks;
mod secrets;
mod sessions;
mod signed_messages;
mod step_files;
mod steps;
mod tls;
mod tls_client;
mod token_grant_attacks;
mod token_grants;
mod tried_runbook;
mod watch;
mod wrong_json;
