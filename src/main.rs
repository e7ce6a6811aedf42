//! The program `countersign`: the service, the helper process of the sandbox, and the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The sandbox helper forks, so this check must come before any code that could start a thread.
    if std::env::args_os().nth(1).is_some_and(|first| first == countersign::sandbox::protocol::LAUNCH) {
        return countersign::sandbox::launcher::main();
    }
    countersign::cli::main()
}
