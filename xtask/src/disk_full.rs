//! `cargo xtask disk-full`: the real binary on a real file system that has no room left. Producers must
//! be refused, nothing acknowledged may be lost, and work must go on by itself when there is room again.
//!
//! The file system is a small tmpfs in a mount namespace of its own (`unshare` of util-linux), which
//! neither needs root nor is seen by anybody else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use crate::bench::{Body, synthetic_load};
use crate::crash::audit;
use crate::otlp::{RawLogsClient, is_put_off};
use crate::server::{Launch, Server, number};
use crate::wait;
use crate::workspace;

/// Room at first: less than what is sent, more than a start needs.
const SMALL_MEGABYTES: u64 = 24;
/// Room in the end: enough for all.
const LARGE_MEGABYTES: u64 = 512;
/// Requests that are tried while the disk is full, to see that it stays refused and alive.
const REFUSALS_WANTED: u64 = 20;
/// Requests after which a disk of `SMALL_MEGABYTES` must have been full.
const REQUESTS_MAX: usize = 200;
/// How long the server may take to find that there is room again.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
const RECOVERY_INTERVAL: Duration = Duration::from_millis(100);
/// Set in the process that runs inside the namespace.
const INSIDE: &str = "MILLRACE_DISK_FULL_MOUNT";

/// What `cargo xtask disk-full` takes.
#[derive(clap::Args)]
pub struct DiskFullArguments {
    /// The binary to test instead of building one
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Runs it: outside it makes the namespace and runs itself inside.
pub fn run(arguments: &DiskFullArguments) -> Result<()> {
    let binary = workspace::binary(arguments.binary.as_deref())?;
    if let Some(mount) = std::env::var_os(INSIDE) {
        return run_inside(Path::new(&mount), binary);
    }
    let allowed = Command::new("unshare").args(["-rm", "true"]).stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        println!("disk-full: NOT RUN: this machine allows no mount namespace (unshare -rm)");
        return Ok(());
    }
    let mount = tempfile::Builder::new().prefix("millrace-disk-full-").tempdir()?;
    let this = std::env::current_exe()?;
    let status = Command::new("unshare")
        .arg("-rm")
        .arg(this)
        .args(["disk-full", "--binary"])
        .arg(&binary)
        .env(INSIDE, mount.path())
        .status()?;
    if !status.success() {
        bail!("the run inside the namespace failed: {status}");
    }
    Ok(())
}

fn run_inside(mount: &Path, binary: PathBuf) -> Result<()> {
    mount_tmpfs(mount, &format!("size={SMALL_MEGABYTES}m"))?;
    let launch = Launch::inside(mount, binary)?;
    let mut server = launch.start_ready()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (client, mut bodies) = runtime.block_on(async {
        anyhow::Ok((RawLogsClient::new(&launch.grpc_url(), false)?, synthetic_load()?))
    })?;
    let mut producer = Producer { client, sent: 0, acked: 0, refused: 0 };

    for turn in 0..REQUESTS_MAX {
        let count = bodies.len();
        runtime.block_on(producer.send(&mut bodies[turn % count]))?;
        if producer.refused >= REFUSALS_WANTED {
            break;
        }
    }
    if producer.refused < REFUSALS_WANTED {
        bail!("only {} requests were refused: the disk was not full", producer.refused);
    }
    if !server.api().ready() {
        bail!("the server is not ready while its disk is full");
    }
    let acked_when_full = producer.acked;
    mount_tmpfs(mount, &format!("remount,size={LARGE_MEGABYTES}m"))?;
    let recovered = wait::until(RECOVERY_LIMIT, RECOVERY_INTERVAL, || {
        let before = producer.acked;
        runtime.block_on(producer.send(&mut bodies[0])).ok()?;
        (producer.acked > before).then_some(())
    });
    recovered.context("the server takes nothing though there is room again")?;
    check(&launch, &mut server, &producer)?;
    println!(
        "disk-full: {} records acknowledged ({acked_when_full} before the disk was full), {} requests refused; \
         all acknowledged records are rows, the audit balances",
        producer.acked, producer.refused
    );
    Ok(())
}

/// Every acknowledged record is a row; one that was refused may be a row, once.
fn check(launch: &Launch, server: &mut Server, producer: &Producer) -> Result<()> {
    server.api().wait_folded(RECOVERY_LIMIT)?;
    let sql = "SELECT COUNT(*), COUNT(DISTINCT insertId) FROM telemetry.gemini_raw_logs";
    let row = server.api().query(sql)?.pop().unwrap_or_default();
    let [rows, distinct] = row.as_slice() else { bail!("{sql} gave {row:?}") };
    let (rows, distinct) = (number(rows).unwrap_or(0), number(distinct).unwrap_or(0));
    if rows < producer.acked || rows > producer.sent || rows != distinct {
        bail!(
            "{} records sent, {} acknowledged, {rows} rows, {distinct} distinct",
            producer.sent,
            producer.acked
        );
    }
    server.stop()?;
    audit(launch).map(drop)
}

struct Producer {
    client: RawLogsClient,
    sent: u64,
    acked: u64,
    refused: u64,
}

impl Producer {
    /// Sends one request with new records, once.
    async fn send(&mut self, body: &mut Body) -> Result<()> {
        let records = body.stamps.records() as u64;
        body.stamps.stamp(&mut body.bytes, 1_767_225_600_000_000_000 + self.sent);
        self.sent += records;
        match self.client.export(Bytes::copy_from_slice(&body.bytes)).await {
            Ok(_) => self.acked += records,
            Err(status) if is_put_off(&status) => self.refused += 1,
            Err(status) => bail!("a full disk was answered with {status}"),
        }
        Ok(())
    }
}

fn mount_tmpfs(at: &Path, options: &str) -> Result<()> {
    let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).status()?;
    if !status.success() {
        bail!("cannot mount a tmpfs ({options}) at {}", at.display());
    }
    Ok(())
}
