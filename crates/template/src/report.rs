//! What would be different when a job moves here.

use std::fmt::Write as _;

use serde::Serialize;

use crate::behaviour::{BEHAVIOURS, Behaviour, Severity, When};
use crate::job::Job;
use crate::launch::{Launch, Mode, WriteMethod};
use crate::parameters::Template;
use crate::script::{Effect, Finding, Scripts};

/// Something that keeps Millrace from running the job as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Where: a parameter, or script and line.
    pub at: String,
    /// What to change.
    pub text: String,
    /// Whether compatible mode runs it all the same.
    pub runs_in_compatible_mode: bool,
}

/// A behaviour that differs for this job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The behaviour's name.
    pub id: &'static str,
    /// The section of the facts.
    pub section: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub about: &'static str,
    /// What the template does.
    pub template: &'static str,
    /// What Millrace does in strict mode.
    pub strict: &'static str,
    /// What it does in compatible mode.
    pub compatible: &'static str,
    /// Lines of the script where it shows.
    pub lines: Vec<String>,
}

/// A class of messages, or parts of them, that the template loses silently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The behaviour's name.
    pub id: &'static str,
    /// What is lost.
    pub loses: &'static str,
    /// Lines of the script where it happens.
    pub lines: Vec<String>,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The job's name.
    pub job: Option<String>,
    /// The template that it runs, as far as that is known.
    pub template: Option<&'static str>,
    /// The template's release.
    pub template_version: Option<String>,
    /// Apache Beam's version.
    pub sdk_version: Option<String>,
    /// What must be changed first; empty: nothing.
    pub must_change: Vec<Change>,
    /// What the template loses.
    pub lost_by_the_template: Vec<Loss>,
    /// What differs, the most important first.
    pub differences: Vec<Difference>,
    /// What the job says that has no effect or another meaning here.
    pub notes: Vec<String>,
    /// What neither job nor script tell.
    pub not_known: Vec<String>,
}

impl Report {
    /// Puts job and scripts together. `scripts` are those of the job's UDF, read with the function that the
    /// job names; `None` when they were not given.
    #[must_use]
    pub fn of(job: &Job, scripts: Option<&Scripts>) -> Self {
        let strict = Launch::check(&job.given, Mode::Strict);
        let launch = Launch::check(&job.given, Mode::Compatible);
        let mut must_change = Vec::new();
        if let Some(Err(reason)) = &job.template {
            must_change.push(change("template", reason, false));
        }
        for problem in strict.as_ref().err().iter().flat_map(|error| &error.0) {
            let allowed = launch.as_ref().err().is_none_or(|error| !error.0.contains(problem));
            let at = problem.parameter.as_deref().unwrap_or("parameters");
            must_change.push(change(at, &problem.text, allowed));
        }
        if let Some(scripts) = scripts {
            must_change.extend(script_changes(scripts));
        }
        let facts = Facts::of(job, launch.as_ref().ok(), scripts.is_some());
        let rows = || BEHAVIOURS.iter().filter(|behaviour| facts.holds(behaviour.when));
        let mut differences: Vec<Difference> = rows().map(|row| difference(row, scripts)).collect();
        differences.sort_by_key(|difference| difference.severity);
        let lost = rows().filter_map(|row| {
            row.loses.map(|loses| Loss { id: row.id, loses, lines: lines(row.id, scripts, true) })
        });
        let mut not_known = job.missing.clone();
        if scripts.is_none() && facts.udf {
            not_known.push("the script was not given (--udf): its lines are not looked at".to_owned());
        }
        if let Some(scripts) = scripts.filter(|scripts| scripts.findings_left_out > 0) {
            not_known
                .push(format!("{} more findings in the scripts are left out", scripts.findings_left_out));
        }
        Self {
            job: job.name.clone().or_else(|| job.id.clone()),
            template: job.template.as_ref().and_then(|template| template.as_ref().ok()).map(|it| it.name()),
            template_version: job.template_version.clone(),
            sdk_version: job.sdk_version.clone(),
            must_change,
            lost_by_the_template: lost.collect(),
            differences,
            notes: launch.map(|launch| launch.notes).unwrap_or_default(),
            not_known,
        }
    }

    /// What comes first for people: the job, what must be changed, what the template loses.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let known = |value: Option<&str>| value.unwrap_or("not known").to_owned();
        let _ = writeln!(
            text,
            "job {}, template {} (version {}), Apache Beam {}",
            known(self.job.as_deref()),
            known(self.template),
            known(self.template_version.as_deref()),
            known(self.sdk_version.as_deref()),
        );
        let _ = writeln!(text, "\nmust be changed first: {}", none_or_count(self.must_change.len()));
        for change in &self.must_change {
            let mode = if change.runs_in_compatible_mode { " (not in compatible mode)" } else { "" };
            let _ = writeln!(text, "  {}: {}{mode}", change.at, change.text);
        }
        let losses = &self.lost_by_the_template;
        let _ = writeln!(text, "\nlost silently by the template: {}", none_or_count(losses.len()));
        for loss in losses {
            let _ = writeln!(text, "  {}", loss.loses);
            for line in &loss.lines {
                let _ = writeln!(text, "    {line}");
            }
        }
        text
    }

    /// What comes last: what has no effect here, and what is not known.
    #[must_use]
    pub fn remarks(&self) -> String {
        let mut text = String::new();
        for (title, lines) in [("notes", &self.notes), ("not known", &self.not_known)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{title}:\n  {}", lines.join("\n  "));
            }
        }
        text
    }

    /// The names of the columns of [`rows`](Self::rows).
    pub const COLUMNS: [&str; 6] = ["severity", "id", "about", "template", "strict", "compatible"];

    /// The differences as a table for people: what is like strict mode is left empty.
    #[must_use]
    pub fn rows(&self) -> Vec<[String; 6]> {
        let row = |difference: &Difference| {
            let about = std::iter::once(difference.about).chain(difference.lines.iter().map(String::as_str));
            let same = difference.compatible == difference.strict;
            [
                difference.severity.name().to_owned(),
                difference.id.to_owned(),
                about.collect::<Vec<_>>().join("\n"),
                difference.template.to_owned(),
                difference.strict.to_owned(),
                if same { String::new() } else { difference.compatible.to_owned() },
            ]
        };
        self.differences.iter().map(row).collect()
    }
}

fn none_or_count(count: usize) -> String {
    if count == 0 { "nothing".to_owned() } else { count.to_string() }
}

fn change(at: &str, text: &str, runs_in_compatible_mode: bool) -> Change {
    Change { at: at.to_owned(), text: text.to_owned(), runs_in_compatible_mode }
}

fn script_changes(scripts: &Scripts) -> Vec<Change> {
    let mut changes: Vec<Change> = scripts
        .unreadable
        .iter()
        .map(|(script, reason)| change(script, &format!("cannot be read: {reason}"), false))
        .collect();
    // A function that is missing from scripts that could not be read may be in them.
    if scripts.function_found == Some(false) && scripts.unreadable.is_empty() {
        let hint = scripts.nearest.as_ref().map_or(String::new(), |name| format!(", did you mean {name}?"));
        let text = format!("the scripts define no such function{hint}");
        changes.push(change("javascriptTextTransformFunctionName", &text, false));
    }
    if scripts.parameters == Some(2) {
        let text = "the function takes two parameters, as a Pub/Sub single message transform does, and is taken \
                    for one; the template gives it one: declare one";
        changes.push(change("javascriptTextTransformFunctionName", text, true));
    }
    let broken = |effect| matches!(effect, Effect::OnlyNashorn | Effect::InNeither);
    let findings = scripts.findings.iter().filter(|finding| broken(finding.effect));
    changes.extend(findings.map(|finding| change(&place(finding), &finding.text, false)));
    changes
}

fn difference(row: &Behaviour, scripts: Option<&Scripts>) -> Difference {
    Difference {
        id: row.id,
        section: row.section,
        severity: row.severity,
        about: row.about,
        template: row.template,
        strict: row.strict,
        compatible: row.compatible.unwrap_or(row.strict),
        lines: lines(row.id, scripts, false),
    }
}

/// The lines of the scripts that a behaviour shows at.
fn lines(id: &str, scripts: Option<&Scripts>, lost: bool) -> Vec<String> {
    let effects: &[Effect] = match id {
        "udf-returns-nothing" if lost => &[Effect::Drops, Effect::MayDrop],
        "udf-errors" => &[Effect::NotText],
        "concurrency" => &[Effect::KeepsState],
        "engine" => &[Effect::OnlyMillrace, Effect::MayDiffer, Effect::NotReproducible],
        _ => &[],
    };
    let findings = scripts.iter().flat_map(|scripts| &scripts.findings);
    findings
        .filter(|finding| effects.contains(&finding.effect))
        .map(|finding| {
            let what = match finding.effect {
                Effect::OnlyMillrace => " (the template's engine does not take it)",
                Effect::MayDiffer => " (may differ)",
                Effect::NotReproducible => " (another value at each replay)",
                _ => "",
            };
            format!("{}: {}{what}", place(finding), finding.text)
        })
        .collect()
}

fn place(finding: &Finding) -> String {
    format!("{}:{}", finding.script, finding.line)
}

/// What rows are chosen by.
struct Facts {
    udf: bool,
    path_without_function: bool,
    reload: bool,
    flex: bool,
    topic: bool,
    write: WriteMethod,
    at_least_once_mode: bool,
}

impl Facts {
    fn of(job: &Job, launch: Option<&Launch>, script_given: bool) -> Self {
        let given = |name: &str| {
            job.given.parameters.get(name).map(|(value, _)| value.as_str()).filter(|value| !value.is_empty())
        };
        let path = given("javascriptTextTransformGcsPath").is_some();
        let function = given("javascriptTextTransformFunctionName").is_some();
        let template = job.template.as_ref().and_then(|template| template.as_ref().ok());
        let write = launch.map_or(WriteMethod::StreamingInserts, |launch| launch.write);
        let mode = |mode: &str| job.given.experiments.iter().any(|experiment| experiment == mode);
        Self {
            udf: (path && function) || (script_given && !path),
            path_without_function: path && !function,
            reload: given("javascriptTextTransformReloadIntervalMinutes")
                .is_some_and(|minutes| minutes != "0"),
            flex: template.copied().unwrap_or(Template::Flex) == Template::Flex,
            topic: given("inputTopic").is_some() && given("inputSubscription").is_none(),
            write,
            at_least_once_mode: mode("streaming_mode_at_least_once") && !mode("streaming_mode_exactly_once"),
        }
    }

    fn holds(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::WithUdf => self.udf,
            When::WithoutUdf => !self.udf,
            When::PathWithoutFunction => self.path_without_function,
            When::Reload => self.reload && self.udf,
            When::Flex => self.flex,
            When::StreamingInserts => self.write == WriteMethod::StreamingInserts,
            When::StorageWriteApi => self.write != WriteMethod::StreamingInserts,
            When::StorageAtLeastOnce => self.write == WriteMethod::StorageAtLeastOnce,
            When::AtLeastOnceMode => self.at_least_once_mode,
            When::Topic => self.topic,
        }
    }
}
