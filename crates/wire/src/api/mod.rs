//! The bodies of the HTTP API, which the boundary and its clients share.
pub mod advice_words;
pub mod approvals_view;
pub mod body;
pub mod feed;
pub mod foreign_answer;
pub mod grant_view;
pub mod oidc;
pub mod percent_encoded;
pub mod propose_body;
pub mod registry_view;
pub mod review_view;
pub mod view;
