//! JSON_VALUE answered from hidden columns instead of JSON text, where a table has them
//! (`millrace_jsonpath::typed`). Results are the same, only faster: what the columns hold is the exact text
//! that JSON_VALUE gives, and rows without them are still read from their text.
//!
//! ```text
//! Filter: coalesce(json_value(t.payload, '$.a'), json_value(t.payload, '$.b')) = 'x'    [rule]
//!   TableScan: t                                          -> TableScan: t + column "#a:1f.."
//!                                                                                        [scan]
//! part with columns, no rare spellings:   _payload_a
//! part with columns and rare spellings:   coalesce(_payload_a, json_value(_alternates, '$."b"'))
//! part without:                           coalesce(json_value(payload, '$.a'), json_value(payload, '$.b'))
//! ```

mod lineage;
mod rule;
mod scan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use millrace_jsonpath::typed::alternates;
use millrace_jsonpath::{Step, parse};

pub(crate) use rule::AnswerFromColumns;

/// Field metadata of a hidden column: the column of JSON text whose values it holds.
const METADATA_JSON_COLUMN: &str = "json_column";
/// Field metadata of a hidden column: the path in that text.
pub(crate) const METADATA_JSON_PATH: &str = "json_path";

/// A table in parts by what hidden columns of JSON values its rows have. Each row is in `all` and in one
/// of the parts; all providers have the same schema and are of one snapshot.
#[derive(Debug, Clone)]
pub struct SplitTable {
    /// All rows.
    pub all: Arc<dyn TableProvider>,
    /// Rows with all values in their columns and no rare spelling.
    pub typed: Option<Arc<dyn TableProvider>>,
    /// Rows with all values in their columns, those of rare spellings in `_alternates`.
    pub alternates: Option<Arc<dyn TableProvider>>,
    /// Rows whose values are in the JSON text only.
    pub untyped: Option<Arc<dyn TableProvider>>,
}

/// A path in a column of JSON text.
type ColumnPath = (String, Vec<Step>);

/// Where the values of paths are, by the schema of a table.
#[derive(Debug, Default)]
struct KnownPaths {
    /// Paths with a column of their own, and that column.
    own: HashMap<ColumnPath, String>,
    /// Paths whose values are in `_alternates`, and their key there.
    rare: HashMap<ColumnPath, String>,
}

impl KnownPaths {
    fn of(schema: &Schema) -> Self {
        let mut known = Self::default();
        let mut columns = HashSet::new();
        for field in schema.fields() {
            let [column, path] =
                [METADATA_JSON_COLUMN, METADATA_JSON_PATH].map(|key| field.metadata().get(key));
            if let (Some(column), Some(Ok(steps))) = (column, path.map(|path| parse(path))) {
                columns.insert(column.as_str());
                known.own.insert((column.clone(), steps), field.name().clone());
            }
        }
        for alternate in alternates().into_iter().filter(|found| columns.contains(found.column)) {
            if let Ok(steps) = parse(&alternate.path) {
                known.rare.insert((alternate.column.to_owned(), steps), alternate.key());
            }
        }
        known
    }

    fn knows(&self, path: &ColumnPath) -> bool {
        self.own.contains_key(path) || self.rare.contains_key(path)
    }
}

/// The column and path of a call that takes a scalar out of JSON text, as JSON_VALUE does.
fn scalar_call(expr: &Expr) -> Option<(&datafusion::common::Column, Vec<Step>)> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    // The forgiving form differs only in paths that are wrong, and those are left alone.
    if !matches!(func.name().trim_start_matches("safe."), "json_value" | "json_extract_scalar") {
        return None;
    }
    match args.as_slice() {
        [Expr::Column(column), Expr::Literal(ScalarValue::Utf8(Some(path)), _)] => {
            Some((column, parse(path).ok()?))
        }
        _ => None,
    }
}

#[async_trait]
impl TableProvider for SplitTable {
    fn schema(&self) -> SchemaRef {
        self.all.schema()
    }

    fn table_type(&self) -> TableType {
        self.all.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.all.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.all.statistics()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.all.scan(state, projection, filters, limit).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millrace_jsonpath::typed::typed_paths;

    use super::*;
    use crate::views::BUILT_IN;

    /// Long texts, and parts of JSON that is no column of the raw table.
    const READ_FROM_TEXT: &[&str] = &["$.function_args", "$.attributes.function_args"];

    #[test]
    fn what_the_views_read_is_in_columns() {
        let mut known: BTreeSet<ColumnPath> = BTreeSet::new();
        known.extend(
            typed_paths().into_iter().map(|path| (path.column.to_owned(), parse(&path.path).unwrap())),
        );
        known.extend(
            alternates().into_iter().map(|path| (path.column.to_owned(), parse(&path.path).unwrap())),
        );
        let mut calls = 0;
        for (view, sql) in BUILT_IN {
            for call in sql.split("JSON_VALUE(").skip(1) {
                let Some((column, rest)) = call.split_once(", '") else { continue };
                let path = rest.split('\'').next().unwrap();
                if column.ends_with("_json") && !READ_FROM_TEXT.contains(&path) {
                    calls += 1;
                    let wanted = (column.to_owned(), parse(path).unwrap());
                    assert!(
                        known.contains(&wanted),
                        "{view} reads {column} {path} from the text: add it to typed.rs"
                    );
                }
            }
        }
        assert!(calls > 150, "{calls} calls found");
    }
}
