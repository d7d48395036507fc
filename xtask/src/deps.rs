//! `cargo xtask deps`: crates are split by what they must not know, and this keeps them so. The table
//! below says in code what ARCHITECTURE.md's invariants say in words; change both or neither.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata, PackageId};

use crate::workspace;

/// What one crate may know.
struct Rule {
    /// The crate.
    name: &'static str,
    /// Our crates that it may name in its Cargo.toml. Everything not listed is forbidden.
    ours: &'static [&'static str],
    /// Crates that must not be below it at any depth.
    never: &'static [&'static str],
    /// Crates that it must not name itself, though one of its dependencies may stand on them.
    not_directly: &'static [&'static str],
}

/// The core builds in seconds: no query engine, no table format, no wire protocol.
const HEAVY: &[&str] =
    &["datafusion", "deltalake-core", "object_store", "parquet", "tonic", "axum", "hyper", "h2", "reqwest"];
/// Storage formats and the engine that reads them.
const STORAGE: &[&str] = &["deltalake-core", "parquet", "object_store"];
/// Wire protocols.
const WIRE: &[&str] = &["tonic", "axum", "opentelemetry-proto"];

const RULES: &[Rule] = &[
    Rule { name: "millrace-model", ours: &[], never: HEAVY, not_directly: &["tokio", "arrow", "serde_json"] },
    Rule {
        name: "millrace-jsonpath",
        ours: &["millrace-model"],
        never: HEAVY,
        not_directly: &["tokio", "arrow", "serde_json"],
    },
    Rule { name: "millrace-disk", ours: &[], never: HEAVY, not_directly: &["tokio", "arrow"] },
    Rule {
        name: "millrace-log",
        ours: &["millrace-model", "millrace-disk"],
        never: HEAVY,
        not_directly: &["arrow", "rquickjs"],
    },
    Rule { name: "millrace-udf", ours: &["millrace-model"], never: HEAVY, not_directly: &["arrow", "tokio"] },
    Rule {
        name: "millrace-table",
        ours: &["millrace-model"],
        never: HEAVY,
        not_directly: &["tokio", "rquickjs"],
    },
    Rule {
        name: "millrace-pipeline",
        ours: &["millrace-model", "millrace-table"],
        never: HEAVY,
        not_directly: &["rquickjs"],
    },
    Rule {
        name: "millrace-ingest",
        ours: &["millrace-model", "millrace-disk", "millrace-log"],
        never: &["datafusion", "deltalake-core", "parquet", "arrow", "rquickjs"],
        not_directly: &[],
    },
    Rule {
        name: "millrace-pubsub",
        ours: &["millrace-model", "millrace-disk", "millrace-log", "millrace-udf"],
        never: &["datafusion", "deltalake-core", "parquet", "arrow"],
        not_directly: &["opentelemetry-proto", "rquickjs"],
    },
    Rule {
        name: "millrace-export",
        ours: &["millrace-model", "millrace-table"],
        never: HEAVY,
        not_directly: &["tokio", "arrow"],
    },
    Rule {
        name: "millrace-pubsub-source",
        ours: &["millrace-model", "millrace-log"],
        never: &["datafusion", "deltalake-core", "parquet", "arrow", "rquickjs"],
        // Google's client speaks to the service.
        not_directly: &["tonic", "prost", "reqwest", "rustls"],
    },
    Rule {
        name: "millrace-lake",
        ours: &[
            "millrace-model",
            "millrace-jsonpath",
            "millrace-disk",
            "millrace-table",
            "millrace-pipeline",
        ],
        never: &["rquickjs", "tonic", "axum"],
        not_directly: WIRE,
    },
    Rule {
        name: "millrace-sql",
        ours: &["millrace-model", "millrace-disk", "millrace-jsonpath"],
        never: &["deltalake-core", "rquickjs", "tonic", "axum"],
        // Parquet is a format that answers are written in.
        not_directly: &["object_store", "opentelemetry-proto"],
    },
    Rule {
        name: "millrace-server",
        ours: &["millrace-model", "millrace-sql", "millrace-ingest"],
        never: &["deltalake-core", "rquickjs"],
        not_directly: STORAGE,
    },
    Rule {
        name: "millrace-postgres",
        ours: &["millrace-model", "millrace-sql"],
        never: &["deltalake-core", "rquickjs", "axum"],
        not_directly: &["parquet", "object_store", "opentelemetry-proto"],
    },
    Rule {
        name: "millrace-workbench",
        ours: &["millrace-model", "millrace-table", "millrace-udf"],
        never: HEAVY,
        not_directly: &["tokio", "arrow", "rquickjs"],
    },
    Rule { name: "millrace-generate", ours: &[], never: HEAVY, not_directly: &["tokio", "arrow"] },
    Rule {
        name: "millrace-template",
        ours: &["millrace-model"],
        never: HEAVY,
        not_directly: &["tokio", "arrow", "rquickjs"],
    },
    Rule {
        name: "millrace",
        ours: &[
            "millrace-model",
            "millrace-disk",
            "millrace-log",
            "millrace-udf",
            "millrace-table",
            "millrace-pipeline",
            "millrace-ingest",
            "millrace-lake",
            "millrace-sql",
            "millrace-server",
            "millrace-postgres",
            "millrace-pubsub",
            "millrace-generate",
            "millrace-workbench",
            "millrace-template",
            "millrace-pubsub-source",
            "millrace-export",
        ],
        never: &["xtask"],
        // Wiring only: algorithms over these live in the crates that own them. Of DataFusion it names the
        // table provider that it hands from the lake to SQL.
        not_directly: &["deltalake-core", "parquet", "object_store", "rquickjs"],
    },
    Rule {
        name: "xtask",
        ours: &["millrace-model", "millrace-disk", "millrace-log"],
        never: &["datafusion", "deltalake-core", "rquickjs"],
        not_directly: &["arrow"],
    },
];

/// Fails when a rule is broken.
pub fn run() -> Result<()> {
    let violations = violations(&Graph::of(&workspace::metadata()?));
    if violations.is_empty() {
        println!("deps: {} crates keep their invariants", RULES.len());
        return Ok(());
    }
    for violation in &violations {
        eprintln!("deps: {violation}");
    }
    bail!(
        "{} forbidden dependencies; move the code or change the invariant in ARCHITECTURE.md and xtask",
        violations.len()
    )
}

/// Who depends on whom, by name, without dev-dependencies: tests may use what the product must not.
struct Graph {
    members: BTreeSet<String>,
    direct: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of(metadata: &Metadata) -> Self {
        let names: BTreeMap<&PackageId, String> =
            metadata.packages.iter().map(|package| (&package.id, package.name.to_string())).collect();
        let mut direct = BTreeMap::<String, BTreeSet<String>>::new();
        for node in metadata.resolve.iter().flat_map(|resolve| &resolve.nodes) {
            let Some(name) = names.get(&node.id) else { continue };
            let needed = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| matches!(kind.kind, DependencyKind::Normal | DependencyKind::Build))
            });
            // Two versions of one crate share an entry, which can only make a rule stricter.
            let entry = direct.entry(name.clone()).or_default();
            entry.extend(needed.filter_map(|dep| names.get(&dep.pkg).cloned()));
        }
        let members = metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect();
        Self { members, direct }
    }

    fn direct(&self, name: &str) -> impl Iterator<Item = &String> {
        self.direct.get(name).into_iter().flatten()
    }

    /// Everything below a crate, each with the crate that brings it in.
    fn below(&self, name: &str) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![name.to_owned()];
        while let Some(parent) = waiting.pop() {
            for child in self.direct(&parent) {
                if !found.contains_key(child) {
                    found.insert(child.clone(), parent.clone());
                    waiting.push(child.clone());
                }
            }
        }
        found
    }
}

fn violations(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for member in &graph.members {
        let Some(rule) = RULES.iter().find(|rule| rule.name == member) else {
            violations.push(format!("{member} has no rule: say in xtask/src/deps.rs what it may know"));
            continue;
        };
        for direct in graph.direct(member) {
            if graph.members.contains(direct) && !rule.ours.contains(&direct.as_str()) {
                violations.push(format!("{member} must not know {direct}"));
            }
            if rule.not_directly.contains(&direct.as_str()) {
                violations.push(format!("{member} must not use {direct} itself"));
            }
        }
        let below = graph.below(member);
        for never in rule.never.iter().filter(|never| below.contains_key(**never)) {
            violations
                .push(format!("{member} must not stand on {never}: {}", path_to(&below, member, never)));
        }
    }
    violations
}

/// How a crate gets to another, for the error.
fn path_to(below: &BTreeMap<String, String>, from: &str, to: &str) -> String {
    let mut path = vec![to.to_owned()];
    let mut at = to;
    while at != from {
        let Some(parent) = below.get(at) else { break };
        path.push(parent.clone());
        at = parent;
    }
    path.reverse();
    path.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_keeps_its_invariant() {
        let found = violations(&Graph::of(&workspace::metadata().unwrap()));
        assert!(found.is_empty(), "{found:#?}");
    }

    fn graph(edges: &[(&str, &str)], members: &[&str]) -> Graph {
        let mut direct = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in edges {
            direct.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        Graph { members: members.iter().map(|&name| name.to_owned()).collect(), direct }
    }

    #[test]
    fn forbidden_dependencies_are_found_at_any_depth() {
        let edges =
            [("millrace-log", "helper"), ("helper", "other"), ("other", "axum"), ("millrace-log", "xtask")];
        let found = violations(&graph(&edges, &["millrace-log", "xtask", "newcomer"]));
        assert_eq!(
            found,
            [
                "millrace-log must not know xtask",
                "millrace-log must not stand on axum: millrace-log -> helper -> other -> axum",
                "newcomer has no rule: say in xtask/src/deps.rs what it may know",
            ]
        );
    }
}
