//! The sandbox, which isolates each run of a step.

mod isolation;
mod programs;
mod relay;
mod runs;
mod sessions;

pub use isolation::{
    interpreter::{self, PATH},
    launcher,
    planned_secret::{self, PlannedSecret, secret_path},
    probe::{HostProbe, Missing},
    protocol::{self, LAUNCH},
    session_tree::SessionTree,
    start_packet,
    stream_search::StreamSearch,
    unavailable::Unavailable,
};
pub use programs::{
    learned_programs::{LearnedProgram, LearnedPrograms},
    program_lookup::{
        ListError, MAX_INTERPRETERS, SMALLER_LIST, WantedPrograms, interpreter_of, is_builtin,
        list_of, program_path,
    },
};
pub use runs::{
    End, Plan, PlannedFile, PlannedInput, PlannedSession, Report, always_readable,
    attempts::{self, Attempt, AttemptResult},
    cancel_flag::CancelFlag,
    capture::{self, Capture, CapturedBytes, Chunk, OutputStream},
    enforcement_facts::nothing_enforced,
    linux::{LinuxSandbox, Setup},
    profile_check::Prepared,
    starter::{LocalSandbox, Starter},
};
pub use sessions::{
    code_variables::{CODE_VARIABLES, matches_any},
    run_results::{
        CapturedFile, FileRule, MAX_RESULT_FILES, ResultLimits, ResultsError, RunResults,
    },
    session_state::{GivenToRun, ShellState, StateTooLarge, is_carried},
    session_wrapper::{SESSION_STATE_FILE, SESSION_WRAPPER_FILE, SessionWrapper, wrapper_for},
};
