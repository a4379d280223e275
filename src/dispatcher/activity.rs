//! How much is under way, so that the test clock and the shutdown can wait for none.

use tokio::sync::watch;

/// Counts what is under way.
#[derive(Debug, Default)]
pub(super) struct Activity(watch::Sender<usize>);

/// Something under way, until dropped.
#[derive(Debug)]
pub struct Busy<'a>(&'a Activity);

impl Activity {
    pub(super) fn busy(&self) -> Busy<'_> {
        self.begin(1);
        Busy(self)
    }

    pub(super) fn begin(&self, count: usize) {
        self.0.send_modify(|under_way| *under_way += count);
    }

    pub(super) fn end(&self, count: usize) {
        self.0.send_modify(|under_way| *under_way -= count);
    }

    /// Returns when nothing is under way.
    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|under_way| *under_way == 0).await;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.end(1);
    }
}
