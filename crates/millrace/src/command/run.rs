//! `millrace run`: everything, until SIGTERM or SIGINT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use millrace_disk::StdDisk;
use millrace_ingest::Ingest;
use millrace_model::Micros;
use millrace_postgres::Postgres;
use millrace_pubsub::{Broker, ExportHook, KeptTopics};
use millrace_server::{ApiState, ConnectionLimits, Facts, Guard, Recorder, guarded, serve};
use millrace_sql::Engine;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::command::load;
use crate::config::{Config, Origin};
use crate::control::Controls;
use crate::data_dir::{DataDir, ServerAddress, Spill};
use crate::exports::Exports;
use crate::node::Node;
use crate::reload::{self, Watch};
use crate::threads::{self, Work};
use crate::{auth, pipelines, queries, settings};

/// Time between rounds of retention and histogram upkeep.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two tellings of what is committed, where that is what acknowledges messages.
const COMMITS_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the server until it is told to stop; what was accepted by then is folded before it returns.
///
/// # Errors
/// When it cannot start: the message names the port, file or setting.
pub fn run(config: &Config, origin: Option<Origin>, port_offset: u16) -> Result<()> {
    let recorder = Recorder::install()?;
    millrace_pipeline::describe_metrics();
    millrace_pubsub_source::describe_metrics();
    crate::auditor::describe_metrics();
    crate::descriptors::raise(config);
    let token = auth::token(config)?;
    let guard = Guard::new(config.server.bind, token.as_deref())?;
    let postgres = settings::postgres(config, token.as_deref())?;
    let data = DataDir::new(&config.data_dir);
    let _lock = data.lock()?;
    let plans = pipelines::plan_to_start(config, &data)?;

    // Queries run on threads of their own, so that no query keeps ingest waiting for one, and requests on
    // others yet, so that a server full of queries still answers.
    let ingest_runtime = threads::runtime(Work::Ingest)?;
    let http_runtime = threads::runtime(Work::Http)?;
    let query_runtime = threads::runtime(Work::Query)?;
    let refresh_runtime = threads::runtime(Work::Refresh)?;
    // From here on a signal means a clean end, also while the log is being recovered.
    let mut signals = ingest_runtime.block_on(async { Signals::listen() })?;
    let ports = ingest_runtime.block_on(Ports::bind(config, port_offset))?;

    let node = Arc::new(Node::start(config, &data, plans, ingest_runtime.handle())?);
    let ingest = Ingest::new(settings::ingest(config, &data)?, Arc::clone(node.log()))?;
    let kept_topics = KeptTopics::default();
    kept_topics.extend(settings::kept_topics(config));
    let broker = match &ports.pubsub {
        None => None,
        Some(_) => Some(open_broker(config, &kept_topics, &data, &node, ingest_runtime.handle())?),
    };
    let loader = load::loader(&data, Arc::clone(&ingest))?;
    let spill_dir = queries::spill_dir(&data, Spill::Server)
        .with_context(|| format!("cannot make {}", data.spill(Spill::Server).display()))?;
    let mut engine_config = queries::engine(config)?;
    engine_config.spill_dir = Some(spill_dir);
    engine_config.runtime = Some(query_runtime.handle().clone());
    engine_config.results.runtime = Some(refresh_runtime.handle().clone());
    let engine = Arc::new(Engine::new(engine_config, Arc::clone(node.tables()) as _)?);
    let postgres = postgres.map(|settings| Postgres::new(settings, &engine)).transpose()?;
    if let Some(listener) = &ports.postgres {
        node.announce_postgres(&config.project, listener.local_addr()?);
    }
    let control =
        Arc::new(Controls::new(Arc::clone(&node), data.clone(), origin, config.clone(), kept_topics));
    let api = ApiState {
        facts: Arc::clone(&node) as _,
        control,
        engine: Arc::clone(&engine),
        dead_letters: Arc::clone(node.replays()) as _,
        recorder: recorder.clone(),
    };
    data.announce(&ServerAddress {
        pid: std::process::id(),
        http: format!("http://{}", ports.http_address),
        pubsub: ports.pubsub_url()?,
    })?;

    let (close, closing) = watch::channel(false);
    let limits = connection_limits(config);
    let otlp_grpc = guarded(ingest.grpc_routes().into_axum_router(), guard.clone());
    let otlp_http = guarded(ingest.http_router(), guard.clone());
    let http = guarded(millrace_server::router(api).merge(loader.router()), guard.clone());
    let mut listeners = vec![
        ingest_runtime.spawn(listen(ports.otlp_grpc, otlp_grpc, limits, closing.clone())),
        ingest_runtime.spawn(listen(ports.otlp_http, otlp_http, limits, closing.clone())),
        http_runtime.spawn(listen(ports.http, http, limits, closing.clone())),
    ];
    if let (Some(postgres), Some(listener)) = (postgres, ports.postgres) {
        listeners.push(http_runtime.spawn(postgres.serve(listener, closed(closing.clone()))));
    }
    if let (Some(broker), Some(listener)) = (&broker, ports.pubsub) {
        let pubsub = guarded(broker.router(), guard);
        listeners.push(ingest_runtime.spawn(listen(listener, pubsub, limits, closing.clone())));
    }
    let views_closing = closing.clone();
    let views = refresh_runtime.spawn(async move { engine.keep_views_fresh(closed(views_closing)).await });
    let reload = http_runtime.spawn(watch_scripts(Arc::clone(&node), closing.clone()));
    let commits = ingest_runtime.spawn(tell_commits(Arc::clone(&node), closing.clone()));
    let upkeep = ingest_runtime.spawn(maintain(Arc::clone(&node), broker.clone(), recorder, closing));
    report_start(&node, &ports.http_address);

    ingest_runtime.block_on(signals.wait());
    tracing::info!("stopping: no new requests, then the rest of the log is folded");
    close.send_replace(true);
    // Streams would go on for ever.
    broker.iter().for_each(|broker| broker.shutdown());
    node.replays().stop();
    node.pipelines().request_stop();
    ingest_runtime.block_on(async {
        for listener in listeners {
            let _ = listener.await;
        }
        // What they have received is stored by then, and so folded.
        node.sources().stop().await;
        let _ = commits.await;
        let _ = upkeep.await;
        let _ = views.await;
        let _ = reload.await;
    });
    node.drain(Duration::from_secs(config.server.drain_timeout_seconds));
    // What was acked is durable before the log closes; so is what the drain wrote of BigQuery subscriptions.
    broker.iter().for_each(|broker| broker.settle_exports());
    drop(broker);
    tracing::info!("stopped");
    Ok(())
}

/// The bound ports. Bound before anything is opened: a port in use must not cost a recovery first.
struct Ports {
    otlp_grpc: TcpListener,
    otlp_http: TcpListener,
    http: TcpListener,
    http_address: SocketAddr,
    pubsub: Option<TcpListener>,
    postgres: Option<TcpListener>,
}

impl Ports {
    async fn bind(config: &Config, port_offset: u16) -> Result<Self> {
        let server = &config.server;
        let http = bind(config, "server.http_port", server.http_port, port_offset).await?;
        Ok(Self {
            otlp_grpc: bind(config, "server.otlp_grpc_port", server.otlp_grpc_port, port_offset).await?,
            otlp_http: bind(config, "server.otlp_http_port", server.otlp_http_port, port_offset).await?,
            http_address: http.local_addr()?,
            http,
            pubsub: bind_unless_off(config, "server.pubsub_port", server.pubsub_port, port_offset).await?,
            postgres: bind_unless_off(config, "server.postgres_port", server.postgres_port, port_offset)
                .await?,
        })
    }

    fn pubsub_url(&self) -> Result<Option<String>> {
        let address = self.pubsub.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(address.map(|address| format!("http://{address}")))
    }
}

async fn bind(config: &Config, setting: &str, port: u16, port_offset: u16) -> Result<TcpListener> {
    let port = port
        .checked_add(port_offset)
        .with_context(|| format!("{setting} {port} plus --port-offset {port_offset} is no port"))?;
    let address = SocketAddr::new(config.server.bind, port);
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} ({setting}); --port-offset moves all ports"))
}

async fn bind_unless_off(
    config: &Config,
    setting: &str,
    port: u16,
    port_offset: u16,
) -> Result<Option<TcpListener>> {
    match port {
        0 => Ok(None),
        port => bind(config, setting, port, port_offset).await.map(Some),
    }
}

fn open_broker(
    config: &Config,
    kept_topics: &KeptTopics,
    data: &DataDir,
    node: &Arc<Node>,
    runtime: &Handle,
) -> Result<Arc<Broker>> {
    let mut settings = settings::pubsub(config, kept_topics.clone())?;
    settings.exports = ExportHook::new(Arc::new(Exports::new(Arc::clone(node))));
    let log = Arc::clone(node.log());
    Broker::open(settings, Arc::new(StdDisk), &data.pubsub(), log, runtime.clone())
        .context("cannot open the subscriptions of the Pub/Sub port")
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.server.connections_max,
        drain_timeout: Duration::from_secs(config.server.drain_timeout_seconds),
        ..ConnectionLimits::default()
    }
}

async fn listen(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    closing: watch::Receiver<bool>,
) {
    serve(listener, router, limits, closed(closing)).await;
}

/// Resolves when the server is closing.
async fn closed(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

async fn maintain(
    node: Arc<Node>,
    broker: Option<Arc<Broker>>,
    recorder: Recorder,
    closing: watch::Receiver<bool>,
) {
    let mut closed = std::pin::pin!(closed(closing));
    let mut ticks = tokio::time::interval(MAINTENANCE_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut closed => return,
        }
        let (node, broker) = (Arc::clone(&node), broker.clone());
        let recorder = recorder.clone();
        let round = tokio::task::spawn_blocking(move || {
            // First, so that the log knows what is done with.
            broker.iter().for_each(|broker| broker.maintain(Micros::now()));
            node.maintain();
            recorder.upkeep();
        });
        if let Err(error) = round.await {
            tracing::error!(%error, "maintenance ended early");
        }
    }
}

/// Without a durable disk a message is acknowledged when its row is committed.
async fn tell_commits(node: Arc<Node>, closing: watch::Receiver<bool>) {
    if !node.sources().want_commits() {
        return;
    }
    let mut closed = std::pin::pin!(closed(closing));
    let mut ticks = tokio::time::interval(COMMITS_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut closed => return,
        }
        let node = Arc::clone(&node);
        // A pipeline's status may wait for its turn.
        let told = tokio::task::spawn_blocking(move || node.sources().tell_commits(node.pipelines()));
        if let Err(error) = told.await {
            tracing::error!(%error, "a telling of commits ended early");
        }
    }
}

async fn watch_scripts(node: Arc<Node>, closing: watch::Receiver<bool>) {
    let mut closed = std::pin::pin!(closed(closing));
    let mut ticks = tokio::time::interval(reload::TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watch = Some(Watch::default());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut closed => return,
        }
        let (node, mut looking) = (Arc::clone(&node), watch.take().unwrap_or_default());
        let round = tokio::task::spawn_blocking(move || {
            looking.look(&node);
            looking
        });
        match round.await {
            Ok(looked) => watch = Some(looked),
            Err(error) => tracing::error!(%error, "a look at the scripts ended early"),
        }
    }
}

/// The signals that end a server cleanly.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn report_start(node: &Node, http: &SocketAddr) {
    let status = node.status();
    for pipeline in &status.pipelines {
        match &pipeline.error {
            None => tracing::info!(
                pipeline = %pipeline.name,
                topic = %pipeline.topic,
                table = %pipeline.table,
                next_offset = pipeline.next_offset,
                pending = pipeline.pending,
                "pipeline runs"
            ),
            Some(error) => tracing::error!(pipeline = %pipeline.name, %error, "pipeline does not run"),
        }
    }
    let postgres = status.postgres.as_deref().unwrap_or("off");
    tracing::info!(http = %http, postgres, ready = status.ready, uptime_seconds = status.uptime_seconds, "ready");
}
