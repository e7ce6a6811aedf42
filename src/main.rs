//! The one binary: service, launcher and command line.
fn main() -> std::process::ExitCode {
    countersign::cli::main()
}
