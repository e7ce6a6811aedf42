//! The program `countersign`: the service, the helper process of the sandbox, and the command line.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The sandbox helper forks, so this check must come before any code that could start a thread.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == sandbox::LAUNCH)
    {
        return sandbox::launcher::main();
    }
    // `scripts/package` sets the variable. Only this small file reads it, so that a new commit does not compile the whole
    // library again.
    client::program::main::<countersign::WholeProgram>(option_env!("COUNTERSIGN_COMMIT"))
}
