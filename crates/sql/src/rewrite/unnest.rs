//! UNNEST in FROM. An array that knows no table is a table of its own, which DataFusion plans; any other
//! becomes a lateral subquery, which [`crate::plan`] turns into rows beside those of the tables before it.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, SelectItem, SetExpr, TableAliasColumnDef, TableFactor,
    Value,
};

use super::calls::call;
use super::contents::Contents;
use super::fields::field_columns;
use super::from::{FromScope, StarColumn, qualified, table_alias};
use super::{Rewriter, plain};
use crate::error::SqlError;
use crate::parse::parse_query;

impl Rewriter<'_> {
    /// `FROM t, t.array` is `FROM t, UNNEST(t.array) AS array`.
    pub(super) fn array_of_table(&self, factor: &mut TableFactor) {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return };
        let path: Vec<Ident> = name.0.iter().filter_map(|part| part.as_ident()).cloned().collect();
        let (Some(first), Some(last)) = (path.first(), path.last()) else { return };
        if path.len() < 2
            || !self.visible.iter().any(|column| column.table.eq_ignore_ascii_case(&first.value))
        {
            return;
        }
        let alias = alias.take().unwrap_or_else(|| table_alias(&last.value, Vec::new()));
        *factor = TableFactor::UNNEST {
            alias: Some(alias),
            array_exprs: vec![Expr::CompoundIdentifier(path)],
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: false,
        };
    }

    /// Rewrites `UNNEST(array) AS x WITH OFFSET AS o`: x is both the table and its column. `first`: no
    /// table stands before it.
    pub(super) fn unnest(&mut self, factor: &mut TableFactor, first: bool) -> Result<FromScope, SqlError> {
        let TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias, .. } = factor else {
            return Err(SqlError::internal("UNNEST is something else"));
        };
        let [array] = array_exprs.as_mut_slice() else {
            return Err(SqlError::invalid(format!("UNNEST takes one array, not {}", array_exprs.len())));
        };
        self.expr(array)?;
        let fields = self.fields_of(array);
        let beside = Contents::of(array).names_columns();
        // First in FROM it is of an outer query's column, if it is anything.
        let beside = beside && !first;
        self.aliases_made += 1;
        let (inside, shown) = match alias {
            Some(alias) => (alias.name.value.to_lowercase(), alias.name.value.clone()),
            None => (format!("_q{}", self.aliases_made), "f0_".to_owned()),
        };
        let mut columns = vec![(inside.clone(), shown)];
        if *with_offset {
            let offset = with_offset_alias.as_ref().map_or("offset", |alias| alias.value.as_str());
            columns.push((offset.to_lowercase(), offset.to_owned()));
        }
        if beside || *with_offset {
            let mut items = vec![call("unnest", vec![array.clone()])];
            if *with_offset {
                items.push(call("unnest", vec![call("#offsets", vec![array.clone()])]));
            }
            let names = columns.iter().map(|(inside, _)| plain(inside));
            let subquery = select(items.into_iter().zip(names))?;
            let alias = Some(table_alias(&inside, Vec::new()));
            *factor =
                TableFactor::Derived { lateral: beside, subquery: Box::new(subquery), alias, sample: None };
        } else {
            let column = TableAliasColumnDef { name: plain(&inside), data_type: None };
            *alias = Some(table_alias(&inside, vec![column]));
        }
        let column = |(name, shown): (String, String)| StarColumn {
            expr: qualified(&inside, &name),
            table: inside.clone(),
            name: shown,
            hidden: false,
            fields: None,
            is_field: false,
            is_element: name == inside,
        };
        let mut columns = columns.into_iter();
        let mut star: Vec<StarColumn> = match (&fields, columns.next()) {
            (Some(fields), Some(_)) => field_columns(&inside, fields),
            (_, element) => element.into_iter().map(column).collect(),
        };
        star.extend(columns.map(column));
        Ok(FromScope { star, tables: vec![inside] })
    }
}

/// A join that may leave out its condition has one all the same.
pub(super) fn always(operator: &mut JoinOperator) {
    if let JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint) = operator
        && matches!(constraint, JoinConstraint::None)
    {
        *constraint = JoinConstraint::On(Expr::Value(Value::Boolean(true).into()));
    }
}

/// `SELECT` of these expressions, without FROM.
fn select(items: impl Iterator<Item = (Expr, Ident)>) -> Result<Query, SqlError> {
    let mut query = parse_query("SELECT 1", 64)?.query;
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = items.map(|(expr, alias)| SelectItem::ExprWithAlias { expr, alias }).collect();
    }
    Ok(query)
}
