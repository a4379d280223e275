//! Where commits are made.

use anyhow::{Context as _, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// A thread of its own for what holds the writer: between two statements of a transaction it must not wait for its turn
/// behind requests and attempts. Measured on two cores: a third more events a second.
pub(super) struct CommitThread(Option<Runtime>);

impl CommitThread {
    pub(super) fn start() -> Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("commits").enable_all().build();
        Ok(Self(Some(runtime.context("no thread for commits")?)))
    }

    pub(super) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it runs until it is dropped").handle()
    }
}

impl Drop for CommitThread {
    /// What still runs there is not waited for, which would block.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
