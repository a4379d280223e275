//! The service, put together: [`App::build`] opens everything, [`App::run`] runs it until it is told to stop.

mod commits;
mod outbound;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use secrecy::ExposeSecret as _;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use commits::CommitThread;
pub(crate) use outbound::{call_rules, operators_rules, transport_settings};

use crate::{
    api_key::KeyHasher,
    attempt::Attempter,
    audit::Author,
    backfill::Backfills,
    clock::Clock,
    config::{Config, Engine},
    dispatcher::{Dispatcher, Limits, Recorder},
    encryption,
    entropy::Entropy,
    http::{self, Api, Parts, Serving, tls::ListenerTls},
    id::IdSource,
    ingest::{Batcher, Ingest},
    keys::KeyIssuer,
    maintenance::Maintenance,
    metrics::{Listener, Metrics},
    operational,
    pulse::Pulse,
    replicas,
    schedule::Schedule,
    statistics::Statistics,
    store::{News, PostgresOptions, PostgresStore, SqliteStore, Store},
    test_clock::TestClock,
    trace::Tracer,
    transport::{Resolve, SystemResolver},
    vault::Vault,
};

/// Which parts of the service a process runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Both.
    #[default]
    All,
    /// The two listeners.
    Api,
    /// Delivery and upkeep; of the listeners it answers only the health checks and its metrics.
    Worker,
}

impl Role {
    fn serves(self) -> bool {
        self != Self::Worker
    }

    fn works(self) -> bool {
        self != Self::Api
    }

    fn expect_fitting(self, config: &Config) -> Result<()> {
        if config.test_clock.enabled && self != Self::All {
            bail!("test_clock.enabled needs --role all: the clock that moves is this process's own");
        }
        Ok(())
    }
}

/// How long the others are told that there is work to take over, as this process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The store with what is needed to read and write secrets in it.
#[derive(Clone)]
pub struct Foundation {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The service's clock.
    pub clock: Clock,
    /// Where ids come from.
    pub ids: Arc<IdSource>,
    /// Where randomness comes from.
    pub entropy: Entropy,
    /// Seals signing secrets.
    pub vault: Arc<Vault>,
    /// Hashes API keys.
    pub hasher: Arc<KeyHasher>,
}

impl Foundation {
    /// Opens the database and brings it up to date, and checks that the encryption key is the one it was made with.
    pub async fn open(config: &Config) -> Result<Self> {
        let entropy = Entropy::os();
        let ids = Arc::new(IdSource::new(entropy.clone()));
        let store = open_store(config, Arc::clone(&ids)).await?;
        let vault = Arc::new(encryption::open_vault(config, store.as_ref(), &entropy).await?);
        let hasher = Arc::new(encryption::open_hasher(store.as_ref(), &vault, &entropy).await?);
        let clock = if config.test_clock.enabled {
            TestClock::resume(store.as_ref(), Clock::system().now()).await?
        } else {
            Clock::system()
        };
        encryption::expect_readable(store.as_ref(), &vault, clock.now()).await?;
        Ok(Self { store, clock, ids, entropy, vault, hasher })
    }

    /// What makes API keys, in the name of `by`.
    #[must_use]
    pub fn key_issuer(&self, by: Author) -> KeyIssuer {
        KeyIssuer {
            store: Arc::clone(&self.store),
            ids: Arc::clone(&self.ids),
            entropy: self.entropy.clone(),
            hasher: Arc::clone(&self.hasher),
            clock: self.clock.clone(),
            by,
        }
    }
}

/// The service, built and bound, but not yet running.
pub struct App {
    config: Arc<Config>,
    role: Role,
    foundation: Foundation,
    api: Arc<Api>,
    dispatcher: Dispatcher,
    recorder: Recorder,
    batcher: Batcher,
    news: mpsc::UnboundedReceiver<News>,
    backfills: Backfills,
    maintenance: Arc<Maintenance>,
    tracer: Arc<Tracer>,
    statistics: Arc<Statistics>,
    pulse: Arc<Pulse>,
    public: TcpListener,
    internal: TcpListener,
    /// How these two serve.
    servings: (Serving, Serving),
    draining: CancellationToken,
}

impl App {
    /// Opens the database, binds the listeners and puts the parts together.
    pub async fn build(config: Config, role: Role) -> Result<Self> {
        Self::build_with_resolver(config, role, Arc::new(SystemResolver::new())).await
    }

    /// The same with another way to resolve names.
    pub async fn build_with_resolver(config: Config, role: Role, resolver: Arc<dyn Resolve>) -> Result<Self> {
        role.expect_fitting(&config)?;
        let foundation = Foundation::open(&config).await?;
        let Foundation { store, clock, ids, entropy, vault, .. } = foundation.clone();
        // First, so that the transport knows where it must not call.
        let (public, internal) = listeners(&config).await?;
        let rules = Arc::new(call_rules(&config, vec![public.local_addr()?, internal.local_addr()?]));
        let operators_rules = operators_rules(&config, &rules);
        operational::configured::establish(&foundation, &config.operations, &operators_rules).await?;
        let transports = outbound::transports(&config, Arc::clone(&rules), operators_rules, resolver)?;
        let metrics = metrics(store.as_ref());
        let tracer = Tracer::start(&config.tracing, clock.clone(), entropy, Arc::clone(&metrics))?;
        let attempter = Attempter::new(
            transports,
            vault,
            schedule(&config),
            clock.clone(),
            Arc::clone(&ids),
            Arc::clone(&tracer),
        );
        let (news_sender, news) = mpsc::unbounded_channel();
        let statistics = Arc::new(Statistics::new(Arc::clone(&store)));
        let (dispatcher, recorder) = Dispatcher::new(
            Arc::clone(&store),
            clock.clone(),
            ids,
            attempter,
            limits(&config),
            news_sender.clone(),
            Arc::clone(&metrics),
            Arc::clone(&statistics),
        );
        let (ingest, batcher) = Ingest::new(
            Arc::clone(&store),
            clock.clone(),
            dispatcher.clone(),
            config.limits.accept_queue_max,
            config.limits.accept_queue_bytes_max,
            Arc::clone(&metrics),
        );
        let maintenance = Arc::new(Maintenance::new(
            Arc::clone(&store),
            clock.clone(),
            dispatcher.clone(),
            config.retention.events,
            config.retry.window,
            config.operations.told(),
            Arc::clone(&metrics),
        ));
        let pulse =
            Pulse::new(&foundation, dispatcher.clone(), ingest.clone(), Arc::clone(&metrics), role.into());
        let poll = config.database.poll;
        let backfills =
            Backfills::new(Arc::clone(&store), clock.clone(), dispatcher.clone(), poll, news_sender);
        let test_clock = config.test_clock.enabled.then(|| {
            TestClock::new(
                clock,
                Arc::clone(&store),
                dispatcher.clone(),
                backfills.clone(),
                Arc::clone(&maintenance),
                Arc::clone(&statistics),
                Arc::clone(&pulse),
            )
        });
        let servings = servings(&config, &metrics)?;
        let (config, draining) = (Arc::new(config), CancellationToken::new());
        let api = Arc::new(Api::new(Parts {
            foundation: foundation.clone(),
            config: Arc::clone(&config),
            ingest,
            dispatcher: dispatcher.clone(),
            backfills: backfills.clone(),
            test_clock,
            url_rules: rules,
            metrics,
            tracer: Arc::clone(&tracer),
            draining: draining.clone(),
            portal_url: config.portal_url(public.local_addr()?),
            pulse: Arc::clone(&pulse),
        }));
        Ok(Self {
            config,
            role,
            foundation,
            api,
            dispatcher,
            recorder,
            batcher,
            news,
            backfills,
            maintenance,
            tracer,
            statistics,
            pulse,
            public,
            internal,
            servings,
            draining,
        })
    }

    /// Where merchants call.
    pub fn public_addr(&self) -> Result<SocketAddr> {
        Ok(self.public.local_addr()?)
    }

    /// Where internal services and operators call.
    pub fn internal_addr(&self) -> Result<SocketAddr> {
        Ok(self.internal.local_addr()?)
    }

    /// Where merchants call, as the beginning of a URL.
    pub fn public_url(&self) -> Result<String> {
        Ok(url(&self.servings.0, self.public_addr()?))
    }

    /// Where browsers reach the portal, as the beginning of a URL, if there is one.
    pub fn portal_url(&self) -> Result<Option<String>> {
        Ok(self.config.portal_url(self.public_addr()?))
    }

    /// Where internal services and operators call, as the beginning of a URL.
    pub fn internal_url(&self) -> Result<String> {
        Ok(url(&self.servings.1, self.internal_addr()?))
    }

    /// The store and what belongs to it.
    #[must_use]
    pub fn foundation(&self) -> &Foundation {
        &self.foundation
    }

    /// Runs until `shutdown` returns, then drains: takes no more requests, finishes attempts within the grace, and gives
    /// the leases back. Should a part end by itself, the process drains and fails: it is better started again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Foundation { store, .. } = self.foundation;
        let stop = CancellationToken::new();
        let commits = CommitThread::start()?;
        let mut recorder = commits.handle().spawn(self.recorder.run());
        let mut batcher = commits.handle().spawn(self.batcher.run());
        let (pulse, until) = (Arc::clone(&self.pulse), stop.clone());
        let mut background = vec![
            tokio::spawn(replicas::tell(Arc::clone(&store), self.news)),
            tokio::spawn(async move { pulse.run(until).await }),
        ];
        let mut worker: Option<JoinHandle<()>> = None;
        let mut runner: Option<JoinHandle<()>> = None;
        let mut scheduler = None;
        if self.role.works() {
            let freed = store.become_worker().await?;
            if freed > 0 {
                tracing::info!(freed, "took over deliveries that an earlier process had leased");
            }
            // The one process on an embedded database makes all the work itself.
            let alone = self.role.serves() && !store.allows_many_workers();
            if !alone {
                self.dispatcher.hears_others(false);
                let (dispatcher, backfills) = (self.dispatcher.clone(), self.backfills.clone());
                background.push(tokio::spawn(replicas::listen(Arc::clone(&store), dispatcher, backfills)));
            }
            let (backfills, until) = (self.backfills, stop.clone());
            runner = Some(commits.handle().spawn(async move { backfills.run(until).await }));
            let (statistics, until) = (Arc::clone(&self.statistics), stop.clone());
            background.push(tokio::spawn(async move { statistics.run(until).await }));
            let (dispatcher, stop) = (self.dispatcher.clone(), stop.clone());
            worker = Some(commits.handle().spawn(async move { dispatcher.run(stop).await }));
            scheduler = Some(self.maintenance.start().await.context("the upkeep cannot be scheduled")?);
        }
        let grace = self.config.shutdown.grace;
        let routers = if self.role.serves() {
            (http::public::router(Arc::clone(&self.api)), http::internal::router(Arc::clone(&self.api)))
        } else {
            (
                http::public::worker_router(Arc::clone(&self.api)),
                http::internal::worker_router(Arc::clone(&self.api)),
            )
        };
        tracing::info!(public = %self.public.local_addr()?, internal = %self.internal.local_addr()?, role = ?self.role, "listening");
        let serve =
            |listener, router, serving| tokio::spawn(http::serve(listener, router, stop.clone(), serving));
        let servers = (
            serve(self.public, routers.0, self.servings.0),
            serve(self.internal, routers.1, self.servings.1),
        );

        let broken = tokio::select! {
            () = shutdown => None,
            _ = &mut recorder => Some("the recorder"),
            _ = &mut batcher => Some("the ingest loop"),
            () = ended(&mut worker) => Some("the worker"),
            () = ended(&mut runner) => Some("the loop of backfills"),
        };
        tracing::info!("draining");
        self.draining.cancel();
        stop.cancel();
        let drained = async {
            let _ = tokio::join!(servers.0, servers.1);
            for task in [worker, runner].into_iter().flatten() {
                let _ = task.await;
            }
            self.dispatcher.drain().await;
        };
        if tokio::time::timeout(grace, drained).await.is_err() {
            tracing::warn!(
                "the grace has passed; attempts under way are ended and made again by another process"
            );
            if tokio::time::timeout(FAREWELL, self.dispatcher.cut_short()).await.is_err() {
                tracing::warn!("the leases could not be given back; they lapse");
            }
        }
        if !matches!(tokio::time::timeout(FAREWELL, self.statistics.write()).await, Ok(Ok(()))) {
            tracing::warn!("the last statistics could not be written");
        }
        if !matches!(tokio::time::timeout(FAREWELL, self.pulse.end()).await, Ok(Ok(()))) {
            tracing::warn!("the other processes were not told that this one ends");
        }
        // What was given back need not wait until the others look for it.
        let _ = tokio::time::timeout(FAREWELL, store.announce(&[News::Due])).await;
        if let Some(mut scheduler) = scheduler {
            let _ = scheduler.shutdown().await;
        }
        if tokio::time::timeout(FAREWELL, self.tracer.flush()).await.is_err() {
            tracing::warn!("the last spans did not reach the collector");
        }
        batcher.abort();
        recorder.abort();
        background.iter().for_each(JoinHandle::abort);
        drop(commits);
        if tokio::time::timeout(FAREWELL, store.close()).await.is_err() {
            tracing::warn!("the database's connections could not be closed in order");
        }
        tracing::info!("stopped");
        match broken {
            None => Ok(()),
            Some(part) => bail!("{part} ended by itself; its error is in the log"),
        }
    }
}

/// Returns when the task has ended, and forgets it.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(running) => {
            let _ = running.await;
            *task = None;
        }
        None => std::future::pending().await,
    }
}

/// Nothing counted yet.
fn metrics(store: &dyn Store) -> Arc<Metrics> {
    let routes = [&http::public::routes()[..], &http::internal::routes()[..]];
    Arc::new(Metrics::new(routes, &store.pools(), Clock::system().now()))
}

/// The public listener, and the internal one.
async fn listeners(config: &Config) -> Result<(TcpListener, TcpListener)> {
    let public = bind("server.listen", config.server.listen).await?;
    Ok((public, bind("internal.listen", config.internal.listen).await?))
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}

fn url(serving: &Serving, address: SocketAddr) -> String {
    format!("{}://{address}", if serving.tls.is_some() { "https" } else { "http" })
}

/// How the public listener serves, and the internal one.
fn servings(config: &Config, metrics: &Metrics) -> Result<(Serving, Serving)> {
    let (server, internal, limits) = (&config.server, &config.internal, &config.limits);
    let public = Serving {
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        trusted_proxies: server.trusted_proxies.clone(),
        head_bytes_max: limits.head_bytes_max,
        tls: tls("server.tls_certificate", server.tls_certificate.as_deref(), server.tls_key.as_deref())?,
        // Half of the grace, so that clients who take their time leave some to the attempts.
        grace: config.shutdown.grace / 2,
        connections: metrics.listener(Listener::Public).connections.clone(),
        ..Serving::default()
    };
    let internal = Serving {
        // Publishers share few addresses.
        connections_per_address_max: usize::MAX,
        tls: tls(
            "internal.tls_certificate",
            internal.tls_certificate.as_deref(),
            internal.tls_key.as_deref(),
        )?,
        connections: metrics.listener(Listener::Internal).connections.clone(),
        ..public.clone()
    };
    Ok((public, internal))
}

fn tls(
    key: &'static str,
    certificate: Option<&Path>,
    private_key: Option<&Path>,
) -> Result<Option<ListenerTls>> {
    let Some((certificate, private_key)) = certificate.zip(private_key) else { return Ok(None) };
    ListenerTls::read(certificate, private_key).map(Some).context(key)
}

/// When attempts are made.
fn schedule(config: &Config) -> Schedule {
    let retry = &config.retry;
    Schedule::new(retry.ladder.clone(), retry.window, retry.jitter)
}

/// How the dispatcher is bounded.
fn limits(config: &Config) -> Limits {
    Limits {
        in_flight: config.delivery.max_in_flight,
        in_flight_per_endpoint: config.delivery.max_in_flight_per_endpoint,
        attempt_timeout: config.delivery.timeout,
        window: config.retry.window,
        failing: config.failing_rules(),
        poll: config.database.poll,
    }
}

pub(crate) async fn open_store(config: &Config, ids: Arc<IdSource>) -> Result<Arc<dyn Store>> {
    let database = &config.database;
    let url = database.url.expose_secret();
    Ok(match Engine::of(url) {
        Some(Engine::Postgres) => {
            let options = PostgresOptions {
                max_connections: database.max_connections,
                statement_timeout: database.statement_timeout,
                transaction_pooling: database.transaction_pooling,
            };
            Arc::new(PostgresStore::open(url, options, ids).await?)
        }
        Some(Engine::Sqlite) => Arc::new(SqliteStore::open(url, ids).await?),
        None => bail!("database.url: names no engine"),
    })
}
