//! The one binary: service, helper of the sandbox and command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Before anything that could start a thread: the helper forks.
    if std::env::args_os().nth(1).is_some_and(|first| first == countersign::sandbox::protocol::LAUNCH) {
        return countersign::sandbox::launcher::main();
    }
    countersign::cli::main()
}
