//! This machine: room on the disk, who may read what is stored, how many files may be open, and the listeners' ports.

use std::{
    fs,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit};
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;

use super::Finding;
use crate::{
    cli::healthcheck::{answers_as_this_service, reachable},
    config::{Config, Engine},
    store::SqliteStore,
};

/// Below that, the file and its log cannot grow for long.
const ROOM_MIN: ByteSize = ByteSize::mib(64);

/// Below that, somebody should see to it.
const ROOM_NOTED: ByteSize = ByteSize::gib(1);

/// File descriptors for the database, the log and the runtime.
const FILES_BESIDE: u64 = 64;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let url = config.database.url.expose_secret();
    if Engine::of(url) == Some(Engine::Sqlite)
        && let Ok(path) = SqliteStore::path(url)
    {
        findings.push(disk_space(&path));
        findings.push(permissions(&path));
    }
    findings.push(file_descriptors(config));
    let listeners = [
        ("public listener", "server.listen", config.server.listen, config.server.tls_certificate.is_some()),
        (
            "internal listener",
            "internal.listen",
            config.internal.listen,
            config.internal.tls_certificate.is_some(),
        ),
    ];
    for (check, option, address, tls) in listeners {
        findings.push(listener(check, option, address, tls).await);
    }
    findings
}

/// The nearest folder above a path that is there.
fn folder_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn disk_space(database: &Path) -> Finding {
    const CHECK: &str = "disk space";
    let folder = folder_of(database);
    let advice = "make room, or lower retention.events: a full disk refuses every event";
    match rustix::fs::statvfs(&folder) {
        Err(error) => {
            Finding::failure(CHECK, format!("{}: {error}", folder.display()), "see that the folder is there")
        }
        Ok(volume) => {
            let free = ByteSize(volume.f_bavail.saturating_mul(volume.f_frsize));
            let found = format!("{free} free at {}", folder.display());
            match free {
                free if free < ROOM_MIN => Finding::failure(CHECK, found, advice),
                free if free < ROOM_NOTED => Finding::warning(CHECK, found, advice),
                _ => Finding::good(CHECK, found),
            }
        }
    }
}

/// Who else may read or write what is stored, the key that seals it above all.
fn permissions(database: &Path) -> Finding {
    const CHECK: &str = "file permissions";
    let key = database.with_extension("encryption-key");
    let beside = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut readable = None;
    for path in [&key, database, &beside("-wal"), &beside("-shm")] {
        let Ok(metadata) = fs::metadata(path) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        let found = format!("{} has mode {mode:03o}", path.display());
        let advice = format!("chmod 600 {}", path.display());
        if mode & 0o022 != 0 || (*path == key && mode & 0o077 != 0) {
            return Finding::failure(CHECK, format!("{found}: others may change or use it"), advice);
        }
        if mode & 0o044 != 0 && readable.is_none() {
            readable = Some(Finding::warning(CHECK, format!("{found}: others may read it"), advice));
        }
        if fs::File::options().append(true).open(path).is_err() {
            let advice = "run this as the user that the service runs as, or give that user the file";
            return Finding::failure(CHECK, format!("{} cannot be written to", path.display()), advice);
        }
    }
    readable.unwrap_or_else(|| Finding::good(CHECK, "the owner's alone"))
}

fn file_descriptors(config: &Config) -> Finding {
    const CHECK: &str = "file descriptors";
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    // What must be, for attempts alone; and what may be, were all connections there.
    let least = count(config.delivery.max_in_flight).saturating_add(FILES_BESIDE);
    let most = least.saturating_add(count(config.limits.connections_max).saturating_mul(2));
    let Some(limit) = getrlimit(Resource::Nofile).current else { return Finding::good(CHECK, "unlimited") };
    let advice =
        format!("raise the limit (ulimit -n, LimitNOFILE) to {most}, or lower limits.connections_max");
    if limit < least {
        let found = format!("{limit} may be open, and delivery.max_in_flight alone needs {least}");
        Finding::failure(CHECK, found, advice)
    } else if limit < most {
        Finding::warning(CHECK, format!("{limit} may be open, and the limits come to {most}"), advice)
    } else {
        Finding::good(CHECK, format!("{limit} may be open"))
    }
}

/// Whether the port is free, or held by a service like this one.
async fn listener(check: &'static str, option: &str, address: SocketAddr, tls: bool) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::good(check, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            if answers_as_this_service(reachable(address), tls).await {
                return Finding::good(check, format!("a k-webhooks service answers at {address}"));
            }
            let found = format!("{address} is taken by something else");
            Finding::failure(check, found, format!("end that, or choose another {option}"))
        }
        Err(error) => {
            let found = format!("{address} cannot be listened on: {error}");
            Finding::failure(check, found, format!("choose an address of this machine for {option}"))
        }
    }
}
