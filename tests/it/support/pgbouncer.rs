//! A real PgBouncer in transaction mode.

use std::{path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::postgres::{free_port, hand_over, unprivileged};

pub(crate) struct PgBouncer {
    pub(crate) port: u16,
    _process: Child,
    _folder: TempDir,
}

impl PgBouncer {
    /// In front of the server on this port of this machine, with so many connections to it at most.
    pub(crate) async fn start(server_port: u16, connections: u32) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={server_port} user=k_webhooks\n\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n"
        );
        std::fs::write(&settings, text).unwrap();
        hand_over(folder.path());
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];
        let program = program.into_iter().find(|program| Path::new(program).exists());
        let program = program.expect("PgBouncer is installed (tests/install-engines installs it)");
        let mut process = Command::from(unprivileged(program))
            .arg(&settings)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("PgBouncer ended before it listened");
            if line.contains("process up") {
                break;
            }
        }
        // The pipe must be read on, or the program would wait for it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { port, _process: process, _folder: folder }
    }
}
