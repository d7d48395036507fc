//! The native plan: scripts that only pick and place parts of a message are not interpreted.
//!
//! ```text
//! script --oxc--> tree --lower--> Program        at load; anything without an equal: no plan
//! message --scan--> parts, texts --machine--> row columns
//!                                   `- refused --> the engine, from the start
//! ```
//!
//! * `lower` runs the script once without a message; what depends on one becomes a [`Program`].
//! * `scan` reads a message once, and writes the JSON texts that are asked for.
//! * `machine`, `eval` and `text` run the program; `transform` puts the result into the table's columns.
//!
//! The result is bit for bit what JavaScript gives. Where that would be hard (errors, rare spellings), the
//! plan does not try: it has no effect until it ends, so it hands the message to the engine instead.

mod eval;
mod explain;
mod lower;
mod machine;
mod names;
mod native;
mod program;
mod read;
mod scan;
mod simplify;
mod text;
mod tidy;
mod transform;
mod value;
mod walk;

use std::sync::Arc;

pub use self::explain::{Explanation, Obstacle};
pub use self::native::NativePlan;
pub(crate) use self::transform::PlanTransform;

use self::program::{NodeId, OVERLAY, ObjectId, Op, Program, ROOT};
use crate::config::{Shape, UdfConfig};

/// A script as a program.
#[derive(Debug)]
pub(crate) struct Plan {
    program: Program,
    /// Whether the script writes on the parsed message itself.
    has_overlay: bool,
    /// The objects whose text is the row.
    rows: Vec<ObjectId>,
}

/// Tells whether a UDF runs as a native plan, and what stands in the way. Reads the scripts only: whether
/// they load is for [`crate::Udf::load`] to find out.
#[must_use]
pub fn explain(config: &UdfConfig) -> Explanation {
    compile(config).1
}

/// Makes the plan of a UDF, if it has one.
pub(crate) fn compile(config: &UdfConfig) -> (Option<Arc<Plan>>, Explanation) {
    let refused = |construct: &str| {
        let script = config.scripts.first().map_or_else(String::new, |script| script.name.clone());
        let obstacle = Obstacle { script, line: 0, column: 0, construct: construct.to_owned() };
        (None, Explanation { obstacles: vec![obstacle], ..Explanation::default() })
    };
    if !config.native_plan {
        return refused("native plans are switched off in the configuration");
    }
    match read::read(&config.scripts, &config.function) {
        Ok(lowered) if config.shape_of(lowered.parameters) == Shape::MessageTransform => {
            refused("the function takes a message and its metadata, not a text")
        }
        Ok(lowered) => {
            let mut program = lowered.program;
            simplify::simplify(&mut program);
            tidy::tidy(&mut program);
            let mut rows = Vec::new();
            find_rows(&program.body, &mut rows);
            let explanation = Explanation {
                is_native: true,
                obstacles: lowered.partly,
                reads: reads(&program),
                writes: writes(&program, &rows, lowered.has_overlay),
                is_open: lowered.has_overlay || program.nodes.first().is_some_and(|root| root.wants_text),
            };
            (Some(Arc::new(Plan { program, has_overlay: lowered.has_overlay, rows })), explanation)
        }
        Err(obstacle) => (None, Explanation { obstacles: vec![obstacle], ..Explanation::default() }),
    }
}

fn find_rows(ops: &[Op], rows: &mut Vec<ObjectId>) {
    for op in ops {
        match op {
            Op::ReturnRow(object) if !rows.contains(object) => rows.push(*object),
            Op::If(_, then, otherwise) => {
                find_rows(then, rows);
                find_rows(otherwise, rows);
            }
            Op::Block(_, ops) => find_rows(ops, rows),
            _ => {}
        }
    }
}

/// The paths that are read, as a person writes them.
fn reads(program: &Program) -> Vec<String> {
    let nodes = &program.nodes;
    let path = |mut node: NodeId| {
        let mut names = Vec::new();
        while node != ROOT {
            names.push(&*program.texts[usize::from(nodes[usize::from(node)].name)]);
            node = nodes[usize::from(node)].parent;
        }
        names.reverse();
        names.join(".")
    };
    (1..nodes.len()).map(|node| path(u16::try_from(node).unwrap_or(ROOT))).collect()
}

/// The names of the fields of the rows.
fn writes(program: &Program, rows: &[ObjectId], has_overlay: bool) -> Vec<String> {
    let overlay = has_overlay.then_some(OVERLAY);
    let mut names: Vec<String> = Vec::new();
    for object in rows.iter().copied().chain(overlay) {
        for &slot in &program.objects[usize::from(object)].slots {
            let name = &*program.texts[usize::from(program.slots[usize::from(slot)].name)];
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    names
}
