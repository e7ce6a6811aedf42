//! The one program: service, helper of the sandbox and command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // This branch must come before any code that could start a thread, because the helper forks.
    if std::env::args_os().nth(1).is_some_and(|first| first == countersign::sandbox::protocol::LAUNCH) {
        return countersign::sandbox::launcher::main();
    }
    countersign::cli::main()
}
