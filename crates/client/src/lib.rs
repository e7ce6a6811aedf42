//! The part of the command line that runs on each Unix: it proposes, reviews, signs, verifies and audits.
//!
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
mod terminal;

pub use commands::{
    approve::{self, AskedText},
    audit::{
        audit_row::{AuditRow, BOUNDARY, COLUMNS, RowPlace, RowVerdict, TIME, VERDICT},
        audit_table::{AuditTable, MOST_ROWS, named_log, read_again},
        audit_words::{approval_words, joined, review_words, revocation_words},
        csv_table::{csv_grants, csv_table},
        grant_table::{GRANT_COLUMNS, grant_cells},
        open_work::open_lines,
        row_filter::{FIELDS, OPEN_CHOICES, RowFilter, outcomes},
    },
    bundle_files::{bundles_of, is_log, logs_below},
    client_program::ClientProgram,
    clock::now,
    completions::runbook_or_step,
    deny,
    global::{BoundaryChoice, GlobalOptions},
    grant::{
        HEADER, cells, find_grant,
        grant_review::GrantReview,
        signing::{self, check_pending, check_typed},
    },
    inbox::{freeze_words, grant_words, myself, waiting_grants},
    inbox_table::{end_of, heaviest, parameter_words, step_words, time_left},
    key, log_source_options, man,
    own_program::own_program,
    program::{
        self, Cli, CommandSet, LACKING_BELOW, ROLES, SharedCommand, command, lacking_commands,
    },
    registry::{
        self, SealedStepsCommand,
        printed::{print_list, print_step, rules},
    },
    review_run::{self, RunReview, SaidOfRun, run_to_review},
    review_subject::find_subject,
    revocation::{self, RevokingBoundary},
    revoke,
    roster::{
        self,
        change::changes,
        show::{self, ShowArgs},
        sign::{SigningCommand, say_standing},
    },
    unsettled::{self, details, more_words},
    verdict_screen::program_words,
    verify::{JudgedBundle, judged_screen, unverified_words, with_any},
    version::lock_digest,
};
pub use home::{
    boundaries::ListedBoundary,
    directories::Home,
    keys::{KeyArgs, Keys, SignaturePurpose, sign},
    named_file::{read_bounded, read_private},
    parameter_values::{read_params, typed},
    roster_versions::join_bundles,
    trusted_rosters::{ChosenTrust, TrustArgs, trust_advice},
    user_configuration::show_own_letters,
};
pub use remote::{
    address::Address,
    client::{CHALLENGE_TYPE, Client},
    export::export,
    follow_run::{StreamLine, read_line},
    log_source::{LogAtRest, LogSource, OpenStoredLog},
    proposals::{self, newest},
    read_receipt::ReadReceipt,
    run_printer::{OutputForm, RunPrinter, held_up_words, piece_of, truncated_words},
    secret::Secret,
    tls_files::TlsFiles,
};
pub use review::{
    compare::definitions_diff,
    comparison::DefinitionDifferences,
    derive::derive,
    derived::StatementVerdict,
    gather::{ReviewSubject, roster_in_force},
    proposal_review::{ProposalReview, check_open},
    render::{self, draw_differences, profile_words},
    sources::{ReviewSources, RosterSource},
    value_words,
};
pub use terminal::{
    exit::{CommandFailure, Exit},
    field_paths::leaves,
    outcome_words::{observed_word, outcome_words},
    output_painter::{ColouredText, OutputPainter},
    person_words::person_words,
    printable_text::PrintableText,
    refused_programs::{ListPlace, OWN_DIRECTORIES, OutputComplaints, print_hints, refusal_lines},
    screen::{LineTone, Screen, ScreenLine},
    streams::{AnswerButton, Audience, Terminal, eprintln_quietly, text_of, write_new},
    table::{aligned, fitted},
};
