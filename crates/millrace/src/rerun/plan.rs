//! Reruns as they are written down.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use millrace_disk::{Disk, OpenMode, StdDisk};
use millrace_model::Micros;
use serde::{Deserialize, Serialize};

use crate::config::{self, Config};
use crate::data_dir::DataDir;
use crate::moment;
use crate::plan::{self, TablePlan};

/// Largest job file in bytes: its scripts and little else.
const JOB_BYTES_MAX: u64 = 64 << 20;

/// One rerun as it is written down: nothing of it ever changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The form of this file.
    pub version: u32,
    /// Its name, and that of its pipeline.
    pub name: String,
    /// The pipeline whose schema, window and UDF limits it has.
    pub pipeline: String,
    /// The topic, and which topic of that name.
    pub topic: String,
    /// See `topic`.
    pub topic_id: String,
    /// The table that it fills, `dataset.table`.
    pub into: String,
    /// The moments between which its messages were published.
    pub from: Moment,
    /// Behind the last one.
    pub to: Moment,
    /// The first offset, frozen.
    pub start: u64,
    /// Behind the last one, frozen.
    pub end: u64,
    /// The version: hash and text.
    pub udf: Option<(String, String)>,
    /// Whether the request brought that version; else it is the one that ran then.
    pub udf_sent: bool,
}

/// A moment of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// In microseconds since 1970 UTC.
    pub micros: i64,
    /// As it was written, when it was relative to the moment of the request.
    pub relative: Option<String>,
}

impl Moment {
    fn is_same_time(&self, other: &Self) -> bool {
        self.micros == other.micros
    }

    fn is_same_text(&self, other: &Self) -> bool {
        self.relative.is_some() && self.relative == other.relative
    }
}

/// What a request has to do with the rerun that fills the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It is the same.
    Same,
    /// It is the same to the letter, but `24h` is another stretch by now.
    SameWords,
    /// It is another one.
    Other,
}

impl Plan {
    /// What a request has to do with this one. Moments are compared, not offsets: those were frozen when it
    /// began, and both retention and messages that were to come have moved on since.
    pub fn likeness(&self, request: &Self) -> Likeness {
        let hash = |plan: &Self| plan.udf.as_ref().map(|(udf_hash, _)| udf_hash.clone());
        // Without a version of its own, a request means the one that ran when the rerun began.
        let is_same_udf = match (self.udf_sent, request.udf_sent) {
            (true, true) => hash(self) == hash(request),
            (false, false) => true,
            (true, false) | (false, true) => false,
        };
        let moments = [(&self.from, &request.from), (&self.to, &request.to)];
        if self.pipeline != request.pipeline || !is_same_udf {
            Likeness::Other
        } else if moments.iter().all(|(own, other)| own.is_same_time(other)) {
            Likeness::Same
        } else if moments.iter().all(|(own, other)| own.is_same_time(other) || own.is_same_text(other)) {
            Likeness::SameWords
        } else {
            Likeness::Other
        }
    }

    /// What it is about, as one would ask for it.
    pub fn describe(&self) -> String {
        let (from, to) = (moment::text(Micros(self.from.micros)), moment::text(Micros(self.to.micros)));
        let udf = match &self.udf {
            Some((udf_hash, _)) if self.udf_sent => format!("with version {udf_hash} (by --udf)"),
            Some((udf_hash, _)) => format!("with version {udf_hash} (without --udf)"),
            None => "without a UDF".to_owned(),
        };
        format!("--from {from} --to {to} of pipeline {}, {udf}", self.pipeline)
    }
}

/// The tables of all reruns, for who only reads. One that is damaged, or whose pipeline is configured no
/// more, is left out: it keeps nobody from reading the others.
///
/// # Errors
/// When the reruns cannot be listed.
pub fn tables(config: &Config, data: &DataDir) -> Result<Vec<TablePlan>> {
    let table = |plan: &Plan| table_plan(&pipeline(config, Some(&plan.pipeline)).ok()?, plan).ok();
    Ok(read_all(&data.reruns())?.iter().filter_map(|plan| table(plan.as_ref().ok()?)).collect())
}

/// The tables of a rerun.
///
/// # Errors
/// What is wrong with them.
pub fn table_plan(pipeline: &config::Pipeline, plan: &Plan) -> Result<TablePlan> {
    plan::table_plan(&config::Pipeline {
        table: plan.into.clone(),
        dead_letter_table: None,
        ..pipeline.clone()
    })
}

/// The pipeline of that name, or the only one.
///
/// # Errors
/// When there is none, or there are several.
pub fn pipeline(config: &Config, name: Option<&str>) -> Result<config::Pipeline> {
    let mut configured = plan::pipelines(config);
    match name {
        Some(name) => {
            let found = configured.into_iter().find(|pipeline| pipeline.name == name);
            found.with_context(|| format!("no pipeline is called {name}"))
        }
        None if configured.len() == 1 => Ok(configured.remove(0)),
        None => bail!("there are several pipelines: name one with --pipeline"),
    }
}

/// All reruns of a folder; of those whose file is damaged, what is wrong with it.
///
/// # Errors
/// When the folder cannot be listed.
pub fn read_all(folder: &Path) -> Result<Vec<Result<Plan>>> {
    let entries = match StdDisk.read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", folder.display())),
    };
    let jobs = entries.iter().filter(|entry| entry.name.ends_with(".json"));
    let plans = jobs.map(|entry| {
        let path = folder.join(&entry.name);
        let read = || -> Result<Plan> {
            if entry.len > JOB_BYTES_MAX {
                bail!("it has {} bytes", entry.len);
            }
            let mut bytes = vec![0; usize::try_from(entry.len)?];
            let read = StdDisk.open(&path, OpenMode::Read)?.read_at(&mut bytes, 0)?;
            Ok(serde_json::from_slice(&bytes[..read])?)
        };
        read().with_context(|| format!("{} is damaged", path.display()))
    });
    Ok(plans.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(from: (i64, Option<&str>), udf: Option<&str>) -> Plan {
        let moment = |(micros, relative): (i64, Option<&str>)| Moment {
            micros,
            relative: relative.map(ToOwned::to_owned),
        };
        Plan {
            version: 1,
            name: "rerun-d.t".to_owned(),
            pipeline: "p".to_owned(),
            topic: "t".to_owned(),
            topic_id: String::new(),
            into: "d.t".to_owned(),
            from: moment(from),
            to: moment((9_000_000, None)),
            start: 0,
            end: 1,
            udf: Some((udf.unwrap_or("ran then").to_owned(), "text".to_owned())),
            udf_sent: udf.is_some(),
        }
    }

    #[test]
    fn the_same_command_means_the_same_rerun() {
        let day = plan((1_000_000, Some("24h")), None);
        let mut later = Plan { start: 7, end: 9, ..plan((1_000_000, None), None) };
        later.udf = Some(("runs now".to_owned(), "other".to_owned()));
        assert_eq!(day.likeness(&later), Likeness::Same, "retention and the running version have moved on");
        assert_eq!(day.likeness(&plan((5_000_000, Some("24h")), None)), Likeness::SameWords);
        for other in [
            plan((5_000_000, Some("48h")), None),
            plan((5_000_000, None), None),
            plan((1_000_000, Some("24h")), Some("aaaa")),
            Plan { pipeline: "q".to_owned(), ..day.clone() },
            Plan { to: Moment { micros: 8, relative: None }, ..day.clone() },
        ] {
            assert_eq!(day.likeness(&other), Likeness::Other, "{other:?}");
        }
        let sent = plan((1_000_000, None), Some("aaaa"));
        assert_eq!(sent.likeness(&sent), Likeness::Same);
        assert_eq!(sent.likeness(&plan((1_000_000, None), Some("bbbb"))), Likeness::Other);
        assert_eq!(
            day.describe(),
            "--from 1970-01-01T00:00:01.000000Z --to 1970-01-01T00:00:09.000000Z of pipeline p, with version \
             ran then (without --udf)"
        );
    }

    #[test]
    fn a_damaged_job_keeps_no_other_from_being_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_all(&folder.path().join("none")).unwrap().is_empty());
        let write = |name: &str, text: &str| {
            let mut file = std::fs::File::create(folder.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        write("a.json", "{");
        write("b.json", &serde_json::to_string(&plan((1, None), None)).unwrap());
        write("c.tmp", "{");
        let mut read = read_all(folder.path()).unwrap();
        read.sort_by_key(Result::is_ok);
        assert_eq!(read.len(), 2);
        assert!(read[0].as_ref().is_err_and(|error| format!("{error:#}").contains("a.json is damaged")));
        assert_eq!(*read[1].as_ref().unwrap(), plan((1, None), None));
    }
}
