//! The `k-webhooks` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    k_webhooks::cli::main()
}
