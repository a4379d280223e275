//! Who waits for a connection, which the pools themselves do not tell.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many wait.
#[derive(Debug, Default)]
pub(super) struct Waiting(AtomicUsize);

/// One that waits, until dropped.
pub(super) struct Waiter<'a>(&'a Waiting);

impl Waiting {
    /// Somebody begins to wait.
    pub(super) fn begin(&self) -> Waiter<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Waiter(self)
    }

    /// How many wait just now.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_up_waiting_is_counted_no_longer() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.begin(), waiting.begin());
        assert_eq!(waiting.count(), 2);
        drop((first, second));
        assert_eq!(waiting.count(), 0);
    }
}
