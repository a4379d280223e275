//! Opening the file, and being its only worker.

use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    Connection as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::{SqliteStore, writer::Writer};
use crate::{
    id::IdSource,
    store::{Result, StoreError},
};

/// What is stored is for the user that the service runs as, whatever the umask. SQLite gives the files beside the database
/// the database's mode.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an operation waits for a reader before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// More rows than any operation reads.
const ROW_BUFFER: usize = 8192;

/// Reads are short and two cores serve them; more connections only hold more memory.
const READERS: u32 = 4;
const LONG_READERS: u32 = 2;

impl SqliteStore {
    /// Opens (or makes) the file that `url` names, such as `sqlite://data/k-webhooks.db`, and brings its tables up to
    /// date.
    pub async fn open(url: &str, ids: Arc<IdSource>) -> Result<Self> {
        let path = Self::path(url)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let refused =
                |error| StoreError::Setup(format!("cannot make the folder {}: {error}", folder.display()));
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder).map_err(refused)?;
        }
        let options = options(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            // Batches have one text for each number of rows.
            .statement_cache_capacity(256)
            // A full buffer puts the database's thread to sleep until it is read.
            .row_buffer_size(ROW_BUFFER)
            .optimize_on_close(true, None);
        let cannot_open =
            |error: sqlx::Error| StoreError::Setup(format!("cannot open {}: {error}", path.display()));
        make(&path).map_err(|error| cannot_open(error.into()))?;
        // Behind a savepoint SQLite keeps copies of the pages that change, and beyond 64 KiB in a file, for which there may be
        // no place.
        let writing = options.clone().pragma("temp_store", "MEMORY");
        let mut writer = SqliteConnection::connect_with(&writing).await.map_err(cannot_open)?;
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        // Migrations expand first and contract later, so this version runs on tables of the next.
        migrator.set_ignore_missing(true);
        let migrated = migrator.run(&mut writer).await;
        migrated.map_err(|error| StoreError::Setup(format!("cannot migrate {}: {error}", path.display())))?;
        let reading = options.read_only(true);
        let pool = async |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .test_before_acquire(false)
                .connect_with(reading.clone())
                .await
                .map_err(cannot_open)
        };
        let (readers, long_readers) = (pool(READERS).await?, pool(LONG_READERS).await?);
        Ok(Self {
            writer: Writer::new(writer),
            readers,
            long_readers,
            waiting: Default::default(),
            ids,
            path,
            worker_lock: Mutex::new(None),
        })
    }

    /// The file that `url` names.
    pub fn path(url: &str) -> Result<PathBuf> {
        Ok(options(url)?.get_filename().to_owned())
    }

    /// Takes the lock file beside the database. The operating system frees it when the process ends, however it ends.
    pub(super) async fn lock_as_worker(&self) -> Result<()> {
        let mut held = self.worker_lock.lock().await;
        if held.is_none() {
            *held = Some(lock(&self.path.with_extension("worker"))?);
        }
        Ok(())
    }
}

/// Makes the file, unless it is there: an empty one is a database.
fn make(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn lock(path: &Path) -> Result<File> {
    let refused = |error| StoreError::Setup(format!("cannot lock {}: {error}", path.display()));
    let mut options = File::options();
    let file =
        options.create(true).write(true).truncate(false).mode(FILE_MODE).open(path).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Setup(format!(
            "another process is the worker of this database ({} is locked)",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(refused(error)),
    }
}

pub(super) fn options(url: &str) -> Result<SqliteConnectOptions> {
    SqliteConnectOptions::from_str(url).map_err(|error| StoreError::Setup(format!("database.url: {error}")))
}
