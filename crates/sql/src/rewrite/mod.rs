//! From GoogleSQL's tree to one that DataFusion plans with GoogleSQL's meaning.
//!
//! Names are lower-cased everywhere, since GoogleSQL's columns know no case, and the spelling that a
//! result shows is kept beside the tree. Every `*` is written out here, so hidden columns stay hidden
//! and EXCEPT and REPLACE need nobody else. Casts, literals, intervals and calls become calls of our
//! own functions.

mod aggregates;
mod calls;
mod cast;
mod contents;
mod expr;
mod fields;
mod from;
mod literal;
mod recursive;
mod select;
pub(crate) mod shape;
mod unnest;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use datafusion::sql::sqlparser::ast::{
    self, Expr, LimitClause, OrderBy, OrderByKind, Query, SelectItem, SetExpr, SetOperator, SetQuantifier,
};

use crate::error::SqlError;
use crate::parse::too_deep;
pub(crate) use fields::Fields;
use from::StarColumn;

/// A column that a table, view or subquery has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputColumn {
    /// The spelling that results show; lower-cased it is the name inside.
    pub(crate) name: String,
    /// Left out of `*`.
    pub(crate) hidden: bool,
    /// Which of the columns of one name it is, counted from 1; 0: there is no other. Such columns pass
    /// through `*` and are found by no name.
    pub(crate) copy: usize,
    /// The fields of its elements, when it is known to be an array of structs.
    pub(crate) fields: Option<Fields>,
}

impl OutputColumn {
    pub(crate) fn shown(name: impl Into<String>) -> Self {
        Self { name: name.into(), hidden: false, copy: 0, fields: None }
    }

    /// The name inside the plan.
    pub(crate) fn inside(&self) -> String {
        let lower = self.name.to_lowercase();
        if self.copy == 0 { lower } else { format!("{lower}#{}", self.copy) }
    }
}

pub(crate) type Columns = Rc<[OutputColumn]>;

/// A table as it was found: its path as the planner will ask for it, and its columns.
#[derive(Debug, Clone)]
pub(crate) struct FoundTable {
    pub(crate) dataset: String,
    pub(crate) name: String,
    pub(crate) columns: Columns,
}

/// Finds tables and views by the path that a query wrote.
pub(crate) trait Tables {
    /// # Errors
    /// `not_found` with the nearest name; whatever is wrong with a view.
    fn find(&self, path: &[String]) -> Result<FoundTable, SqlError>;

    /// The moment that the query runs at, the same in all of its parts.
    fn now_micros(&self) -> i64;
}

/// Rewrites a query in place and returns its columns.
///
/// # Errors
/// What GoogleSQL forbids, what is not supported, tables that do not exist.
pub(crate) fn rewrite(query: &mut Query, tables: &dyn Tables) -> Result<Columns, SqlError> {
    shape::flatten(query)?;
    let mut rewriter = Rewriter {
        tables,
        ctes: Vec::new(),
        cte_names: HashSet::new(),
        depth: 0,
        aliases_made: 0,
        visible: Vec::new(),
        scopes: Vec::new(),
        rows: Rows::Columns,
    };
    let columns = rewriter.query(query)?;
    match columns.iter().find(|column| column.copy > 1) {
        Some(OutputColumn { name, .. }) => {
            Err(SqlError::invalid(format!("duplicate column name {name} in the result"))
                .hint("give one of them another name with AS, or leave it out with * EXCEPT"))
        }
        None => Ok(columns),
    }
}

/// What a query's rows are to whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Rows {
    #[default]
    Columns,
    /// A row of SELECT AS STRUCT is one value.
    Values,
}

/// The state of one rewrite.
pub(crate) struct Rewriter<'a> {
    tables: &'a dyn Tables,
    /// Names that WITH clauses define, innermost scope last, lower-cased.
    ctes: Vec<HashMap<String, Cte>>,
    /// Names inside the plan that WITH has taken so far: the planner knows no scopes.
    cte_names: HashSet<String>,
    depth: usize,
    aliases_made: usize,
    /// The columns of the tables so far in the FROM clause that is being rewritten.
    visible: Vec<StarColumn>,
    /// The columns of the FROM clauses around an expression, innermost last.
    scopes: Vec<Vec<StarColumn>>,
    /// What the next query's rows are.
    rows: Rows,
}

/// A name that WITH defines.
#[derive(Debug, Clone)]
struct Cte {
    /// What the plan calls it.
    inside: String,
    columns: Columns,
}

/// How deep queries may lie in queries.
const QUERY_DEPTH_MAX: usize = 100;

impl Rewriter<'_> {
    /// Rewrites a query in an expression: its rows are values there.
    fn value_query(&mut self, query: &mut Query) -> Result<Columns, SqlError> {
        self.rows = Rows::Values;
        self.query(query)
    }

    fn query(&mut self, query: &mut Query) -> Result<Columns, SqlError> {
        let rows = std::mem::take(&mut self.rows);
        let visible = std::mem::take(&mut self.visible);
        self.depth += 1;
        if self.depth > QUERY_DEPTH_MAX {
            return Err(too_deep());
        }
        self.refuse_clauses(query)?;
        self.ctes.push(HashMap::new());
        if let Some(with) = &mut query.with {
            for cte in &mut with.cte_tables {
                self.cte(cte, with.recursive)?;
            }
        }
        let before = self.scopes.len();
        let columns = self.body(&mut query.body, rows)?;
        if rows == Rows::Values {
            struct_keys(query);
        }
        // ORDER BY sees what FROM has, but the SELECT list goes before.
        if let Some(scope) = self.scopes.get_mut(before) {
            scope.retain(|column| !columns.iter().any(|own| own.name.eq_ignore_ascii_case(&column.name)));
        }
        self.order_and_limit(query)?;
        self.scopes.truncate(before);
        self.ctes.pop();
        self.depth -= 1;
        self.visible = visible;
        Ok(columns)
    }

    fn cte(&mut self, cte: &mut ast::Cte, recursive: bool) -> Result<(), SqlError> {
        if recursive && self.recursive(cte)? {
            return Ok(());
        }
        let mut columns = self.query(&mut cte.query)?;
        if !cte.alias.columns.is_empty() {
            columns = renamed(&columns, &mut cte.alias.columns)?;
        }
        self.define(cte, columns)
    }

    /// Makes a name of WITH known.
    fn define(&mut self, cte: &mut ast::Cte, columns: Columns) -> Result<(), SqlError> {
        let name = cte.alias.name.value.to_lowercase();
        let inside = self.unused_cte_name(&name);
        cte.alias.name = plain(&inside);
        match self.ctes.last_mut().and_then(|scope| scope.insert(name.clone(), Cte { inside, columns })) {
            Some(_) => Err(SqlError::invalid(format!("WITH defines {name} twice"))),
            None => Ok(()),
        }
    }

    fn unused_cte_name(&mut self, name: &str) -> String {
        let mut inside = name.to_owned();
        while !self.cte_names.insert(inside.clone()) {
            inside = format!("{name}#{}", self.cte_names.len());
        }
        inside
    }

    fn refuse_clauses(&self, query: &Query) -> Result<(), SqlError> {
        if !query.pipe_operators.is_empty() {
            return Err(SqlError::unsupported("pipe syntax (|>) is not supported")
                .hint("write the query as SELECT ... FROM ..."));
        }
        if !query.locks.is_empty() || query.for_clause.is_some() {
            return Err(SqlError::unsupported("FOR clauses are not supported"));
        }
        if query.settings.is_some() || query.format_clause.is_some() {
            return Err(SqlError::unsupported("SETTINGS and FORMAT are not GoogleSQL"));
        }
        if query.fetch.is_some() {
            return Err(SqlError::invalid("FETCH is not GoogleSQL").hint("write LIMIT n"));
        }
        Ok(())
    }

    fn body(&mut self, body: &mut SetExpr, rows: Rows) -> Result<Columns, SqlError> {
        match body {
            SetExpr::Select(select) => self.select(select, rows),
            SetExpr::Query(query) => {
                self.rows = rows;
                self.query(query)
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                if *set_quantifier == SetQuantifier::None {
                    return Err(SqlError::invalid(format!("{op} without ALL or DISTINCT"))
                        .hint(format!("write {op} ALL or {op} DISTINCT")));
                }
                match (*op, *set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All | SetQuantifier::Distinct)
                    | (SetOperator::Except | SetOperator::Intersect, SetQuantifier::Distinct) => {}
                    (op, quantifier) => {
                        return Err(SqlError::unsupported(format!("{op} {quantifier} is not supported")));
                    }
                }
                let before = self.scopes.len();
                let columns = self.body(left, rows)?;
                self.scopes.truncate(before);
                let others = self.body(right, rows)?;
                self.scopes.truncate(before);
                same_count(*op, &columns, &others)?;
                Ok(columns)
            }
            SetExpr::Values(_) => Err(SqlError::invalid("VALUES is not a query in GoogleSQL")
                .hint("write SELECT ... UNION ALL SELECT ...")),
            SetExpr::Table(_) => {
                Err(SqlError::invalid("TABLE is not a query in GoogleSQL").hint("write SELECT * FROM ..."))
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(SqlError::new(
                    crate::Code::ReadOnly,
                    "INSERT, UPDATE, DELETE and MERGE are refused: only queries are run here",
                ))
            }
        }
    }

    fn order_and_limit(&mut self, query: &mut Query) -> Result<(), SqlError> {
        if let Some(OrderBy { kind, .. }) = &mut query.order_by {
            match kind {
                OrderByKind::All(_) => return Err(SqlError::invalid("ORDER BY ALL is not GoogleSQL")),
                OrderByKind::Expressions(expressions) => {
                    for order in expressions {
                        self.expr(&mut order.expr)?;
                    }
                }
            }
        }
        match &mut query.limit_clause {
            None => Ok(()),
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(SqlError::unsupported("LIMIT BY is not GoogleSQL"));
                }
                if let Some(limit) = limit {
                    self.limit(limit)?;
                }
                match offset {
                    Some(offset) => self.limit(&mut offset.value),
                    None => Ok(()),
                }
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                Err(SqlError::invalid("LIMIT a, b is not GoogleSQL").hint("write LIMIT count OFFSET start"))
            }
        }
    }

    fn limit(&mut self, expr: &mut Expr) -> Result<(), SqlError> {
        match expr {
            Expr::Value(_) => self.expr(expr),
            _ => Err(SqlError::invalid("LIMIT and OFFSET take a number, not an expression")),
        }
    }
}

/// # Errors
/// When a set operation's queries have not the same number of columns.
fn same_count(op: SetOperator, columns: &Columns, others: &Columns) -> Result<(), SqlError> {
    match (columns.len(), others.len()) {
        (one, other) if one == other => Ok(()),
        (one, other) => {
            Err(SqlError::invalid(format!("{op}: the first query has {one} columns, the second {other}")))
        }
    }
}

/// ORDER BY names columns of SELECT AS STRUCT, which are fields of its one column now.
fn struct_keys(query: &mut Query) {
    let (SetExpr::Select(select), Some(OrderBy { kind: OrderByKind::Expressions(keys), .. })) =
        (query.body.as_ref(), &mut query.order_by)
    else {
        return;
    };
    let [SelectItem::ExprWithAlias { expr: Expr::Struct { values, .. }, .. }] = select.projection.as_slice()
    else {
        return;
    };
    for key in keys {
        let Expr::Identifier(wanted) = &key.expr else { continue };
        let field = values.iter().find_map(|value| match value {
            Expr::Named { expr, name } if name.value.eq_ignore_ascii_case(&wanted.value) => Some(expr),
            _ => None,
        });
        if let Some(field) = field {
            key.expr = field.as_ref().clone();
        }
    }
}

/// An identifier that means exactly these letters, because the planner is told to change none.
pub(crate) fn plain(name: &str) -> ast::Ident {
    ast::Ident::new(name)
}

/// Columns under the names of an alias's column list.
fn renamed(columns: &Columns, aliases: &mut [ast::TableAliasColumnDef]) -> Result<Columns, SqlError> {
    if columns.len() != aliases.len() {
        return Err(SqlError::invalid(format!(
            "{} column names for a query of {} columns",
            aliases.len(),
            columns.len()
        )));
    }
    let named = aliases.iter().zip(columns.iter());
    let shown = named
        .map(|(alias, column)| OutputColumn {
            fields: column.fields.clone(),
            ..OutputColumn::shown(alias.name.value.clone())
        })
        .collect();
    for alias in aliases {
        alias.name = plain(&alias.name.value.to_lowercase());
    }
    Ok(shown)
}
