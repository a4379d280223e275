//! What the operating system knows of this process, under the names that every client library gives it.

use std::{fs, path::Path};

/// In a second, as `/proc` counts time: 100 on every architecture that Linux still builds for.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process, as far as `/proc` tells of it. Elsewhere than on Linux nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessUse {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) open_files: Option<f64>,
    pub(super) open_files_max: Option<f64>,
}

impl ProcessUse {
    /// Of the process whose folder in `/proc` this is.
    pub(super) fn read(folder: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let stat = text("stat");
        // The name stands in brackets and may have spaces; what follows it does not.
        let fields: Vec<&str> = stat
            .as_deref()
            .and_then(|stat| stat.rsplit_once(')'))
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            resident_bytes: text("status").and_then(|status| resident_bytes(&status)),
            open_files: fs::read_dir(folder.join("fd")).ok().map(|files| exact(files.count())),
            open_files_max: text("limits").and_then(|limits| open_files_max(&limits)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than a float can count")]
fn exact(count: usize) -> f64 {
    count as f64
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The soft limit, in the fourth column.
fn open_files_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_proc_tells_of_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ProcessUse::read(folder.path()), ProcessUse::default());
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 9 0 0 250 50 0 0 20 0 4 0 100 9000 3";
        fs::write(folder.path().join("stat"), stat).unwrap();
        fs::write(folder.path().join("status"), "Name:\ta ) b\nVmRSS:\t      12 kB\n").unwrap();
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             1                    1                    processes\n\
                      Max open files            1024                 524288               files\n";
        fs::write(folder.path().join("limits"), limits).unwrap();
        fs::create_dir(folder.path().join("fd")).unwrap();
        fs::write(folder.path().join("fd/0"), "").unwrap();
        let read = ProcessUse::read(folder.path());
        let expected = ProcessUse {
            cpu_seconds: Some(3.0),
            resident_bytes: Some(12.0 * 1024.0),
            open_files: Some(1.0),
            open_files_max: Some(1024.0),
        };
        assert_eq!(read, expected);
    }
}
