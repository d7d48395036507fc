//! A table whose rows are another plan's: how views and lower-cased tables enter a plan.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{LogicalPlan, TableSource, TableType};

pub(super) struct PlanSource {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl PlanSource {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        let schema = Arc::clone(plan.schema().inner());
        Self { plan, schema }
    }
}

impl TableSource for PlanSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}
