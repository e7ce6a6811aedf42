//! The part of the command line that runs on each Unix: it proposes, reviews, signs, verifies and audits.
//!
//! - `signers`: private key files, and keys with which `ssh-keygen` signs
//! - `terminal`: output of commands and exit codes
//! - `home`: keys, trusted rosters and files of the user
//! - `remote`: the client of a boundary
//! - `review`: the screen that an approver reads before signing
//! - `commands`: the commands
#![forbid(unsafe_code)]

mod commands;
mod home;
mod remote;
mod review;
mod signers;
mod terminal;

pub use commands::{
    approve::{self, AskedText},
    audit::{
        audit_row::{
            AuditRow, BOUNDARY, COLUMNS, RowPlace, RowVerdict, TIME, VERDICT, approval_words,
            joined, review_words, revocation_words,
        },
        audit_table::{AuditTable, MOST_ROWS, csv_grants, csv_table, named_log, read_again},
        decisions::{FIELDS, OPEN_CHOICES, RowFilter, outcomes},
        open_work::{GRANT_COLUMNS, grant_cells, open_lines},
    },
    bundle_files::{bundles_of, is_log, logs_below},
    completions::runbook_or_step,
    deny,
    gate::gate_decision::{AgeLimit, GateRequirements, SandboxRequirement, decide_gate},
    global::{BoundaryChoice, DATABASE, GlobalOptions},
    grant::{
        HEADER, cells, find_grant,
        grant_review::GrantReview,
        signing::{self, check_pending, check_typed},
    },
    inbox::{freeze_words, grant_words, myself, waiting_grants},
    inbox_table::{end_of, heaviest, now, parameter_words, step_words, time_left},
    key::{self, own_program},
    program::{
        self, Cli, ClientProgram, CommandSet, LACKING_BELOW, ROLES, SharedCommand,
        lacking_commands, lock_digest,
    },
    registry::{self, SealedStepsCommand, print_list, print_step, rules},
    review::find_open,
    review_run::{self, RunReview, SaidOfRun, run_to_review},
    revocation::{self, RevokingBoundary},
    revoke,
    roster::{
        self,
        change::{changes, read_version},
        show::{self, ShowArgs},
        sign::{SigningCommand, say_standing},
    },
    unsettled::{self, details, more_words},
    verdict_screen::program_words,
    verify::{JudgedBundle, judged_screen, unverified_words, with_any},
};
pub use home::{
    boundaries::ListedBoundary,
    directories::{Home, show_own_letters},
    keys::{KeyArgs, Keys, SignaturePurpose, sign},
    named_file::{read_bounded, read_private},
    parameter_values::{read_params, step_parameters, typed},
    roster_versions::join_bundles,
    trusted_rosters::{ChosenTrust, TrustArgs, trust_advice},
};
pub use remote::{
    address::{Address, Secret, TlsFiles},
    client::Client,
    export::export,
    follow_run::{StreamLine, read_line, state_words},
    log_source::{LogAtRest, LogSource, OpenStoredLog},
    proposals::{self, newest},
    read_receipt::ReadReceipt,
    run_printer::{OutputForm, RunPrinter, held_up_words, piece_of, truncated_words},
};
pub use review::{
    compare::{ReviewSources, RosterSource, StatementVerdict, definitions_diff},
    derive::derive,
    gather::{ReviewSubject, roster_in_force},
    line::DefinitionDifferences,
    proposal_review::{ProposalReview, check_open},
    render::{self, draw_differences, profile_words},
    value_words,
};
pub use signers::signer::{FileSigner, Signer, write_secret_key};
pub use terminal::{
    exit::{
        CommandFailure, CommandResult, Exit, denial_words, fail_check, fail_refused, fail_usage,
        outcome_words, person_words,
    },
    field_paths::leaves,
    output_painter::{ColouredText, OutputPainter},
    printable_text::PrintableText,
    refused_programs::{
        ListPlace, OWN_DIRECTORIES, OutputComplaints, is_below, is_writable, print_hints,
        refusal_lines,
    },
    screen::{LineTone, Screen, ScreenLine, aligned, fitted, with_header},
    streams::{AnswerButton, Audience, Terminal, eprintln_quietly, write_document, write_new},
};

pub(crate) use commands::{
    audit::{
        audit_output::{NotBegun, each_entry, expect_kept_heads, no_log, said_no},
        audit_row::review_state_words,
        decisions::DecisionFilter,
        open_work::{OverdueReviews, is_active},
    },
    bundle_files::{bundle_of, read_bundle},
    gate::gate_decision::{GateReport, GivenParameter, RequirementResult},
    global::{JobArgs, needs_boundary},
    grant::is_grant,
    inbox::{PATIENCE, Tell, ask_each, show_chosen, tell_failure},
    inbox_table::ProposalFilterArgs,
    output::HashingWriter,
    review::{boundary_with, find_subject, is_file, search_names},
    verdict_screen::VerdictInputs,
};
pub(crate) use home::{
    boundaries::{ALL, BoundaryList, find_with_list},
    named_file::{absolute_path, absolute_roster, absolute_text, read_beginning, replace_file},
    parameter_values::named,
    roster_versions::contradicts_log,
    trusted_rosters::{DecidingRoster, check_own, newest_of, newest_unconnected, seem_same},
};
pub(crate) use remote::{
    export::mirror::{ExportHead, ExportTile},
    follow_run::{WantedBundle, wait_for},
    log_source::read_file,
    proposals::{LookupRange, find_proposal},
    read_receipt::{read_predicate, read_statement},
};
pub(crate) use review::{
    compare::{
        COVERED, Derived, EmergencyApproval, LastRun, ReportedState, ReviewFinding, SANDBOX,
        SCRIPT_DIGEST, SEALED, TRUSTED,
    },
    line::{
        FieldReason, LineDifference, LineWeight, Lines, MOST_LINES, MOST_PARAMETERS, MOST_REMARKS,
        ROW, RemarkSeverity, ReviewLine, RunComparison, SignedField,
    },
    proposal_review::{PagerChoice, check_standing},
    render::{SIGNED, text_lines},
    reviewed_content::ReviewedContent,
    value_words::{duration_ms, list_words, plain_or_quoted, rule_words, short_id, told_rules},
};
pub(crate) use signers::{
    signer::{SshKeygenSigner, open_signer, write_public_key},
    ssh_agent,
};
pub(crate) use terminal::{
    field_paths::path_key, letters::DisplayScripts, printable_text::first_token, screen::lines_of,
};
