//! The sandbox, which isolates each run of a step.

mod isolation;
mod programs;
mod relay;
mod runs;
mod sessions;

pub use isolation::{
    interpreter::{PATH, StreamSearch, missing_interpreter},
    launcher,
    planned_secret::{self, PlannedSecret, secret_path},
    probe::{HostProbe, Missing, Unavailable},
    protocol::{
        LAUNCH, SESSION_STATE_FILE, SESSION_WRAPPER_FILE, check_messages, check_request,
        check_start,
    },
    session_tree::SessionTree,
};
pub use programs::{
    program_lookup::{
        ListError, MAX_INTERPRETERS, SMALLER_LIST, WantedPrograms, interpreter_of, is_builtin,
        list_of, program_path,
    },
    program_recorder::{LearnedProgram, LearnedPrograms},
};
pub use runs::{
    End, Plan, PlannedFile, PlannedInput, PlannedSession, Report, always_readable,
    attempts::{self, Attempt, AttemptResult},
    capture::{self, CancelFlag, Capture, CapturedBytes, Chunk, OutputStream},
    linux::{LinuxSandbox, Setup},
    profile_check::Prepared,
    starter::{LocalSandbox, Starter},
};
pub use sessions::{
    run_results::{CapturedFile, MAX_RESULT_FILES, ResultLimits, RunResults},
    secret_masks::{MIN_MASKED, SecretMasks, StreamMasker},
    session_state::{
        CODE_VARIABLES, GivenToRun, SessionWrapper, ShellState, StateTooLarge, is_carried,
        matches_any, wrapper_for,
    },
};

pub(crate) use isolation::{
    bpf::{FilterEntry, FilterVerdict, Instruction},
    cgroup::Controllers,
    denied_names::{MAX_DEPTH, NamePatterns},
    executable_files::ExecutableFiles,
    grants::{PathAccess, PathGrant},
    helper::PATIENCE,
    ids::Id,
    interpreter::{self, ProgramCounts, started_by_env},
    launcher::watch::report_end,
    mounts::{directory_at, file_at, move_to, with_parents},
    opened::FileId,
    probe::ProbeFailures,
    protocol::{
        self, AnnouncedPrograms, CodeInMemory, Confined, Descriptors, HelperMessage, HostId,
        HostSharing, InputEntry, KILL, RunForm, RunRequest, RunTexts, SessionRequest, SizeLimit,
        Sockets, SpentResources, Start, StepEnd, SyscallFilter, TERMINATE, WrapperRequest,
    },
    run_dir::RunDir,
    setup_failure::{AtStage, SetupFailure, SetupResult, SetupStage},
    step_files::PutFiles,
    step_paths::{HOME, StepPaths, host_paths},
    syscalls::{ForkSide, notifications::WaitingCall},
    system_paths::SYSTEM,
    trees::Disk,
};
pub(crate) use programs::{
    program_format::{FileFormat, format_of},
    program_recorder::ProgramRecorder,
};
pub(crate) use relay::NetworkContacts;
pub(crate) use runs::run_follower::FollowedRun;
