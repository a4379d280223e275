//! The `k-webhooks` program.

use std::process::ExitCode;

/// Threads hand buffers to each other all the time, which the system's allocator takes locks for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    k_webhooks::cli::main()
}
