//! FROM clauses: which tables, under which names, with which columns.

use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart, TableAlias, TableAliasColumnDef,
    TableFactor, TableWithJoins,
};

use super::calls::call;
use super::unnest::always;
use super::{Columns, Fields, Rewriter, plain, renamed};
use crate::error::SqlError;
use crate::suggest::nearest;

/// A column that `*` stands for.
#[derive(Debug, Clone)]
pub(super) struct StarColumn {
    /// What to select.
    pub(super) expr: Expr,
    /// The table's name in this query, lower-cased.
    pub(super) table: String,
    pub(super) name: String,
    pub(super) hidden: bool,
    pub(super) fields: Option<Fields>,
    /// A field of an unnested struct: `expr` is no column of that name.
    pub(super) is_field: bool,
    /// The elements of an unnested array: the table's name means them, too.
    pub(super) is_element: bool,
}

/// What a FROM clause offers, in order.
#[derive(Debug, Default)]
pub(super) struct FromScope {
    pub(super) star: Vec<StarColumn>,
    /// The names of its tables, lower-cased.
    pub(super) tables: Vec<String>,
}

impl FromScope {
    fn join(mut self, right: Self) -> Self {
        self.star.extend(right.star);
        self.tables.extend(right.tables);
        self
    }
}

impl Rewriter<'_> {
    pub(super) fn from(&mut self, from: &mut [TableWithJoins]) -> Result<FromScope, SqlError> {
        let mut scope = FromScope::default();
        let outer = std::mem::take(&mut self.visible);
        for item in from {
            let first = scope.tables.is_empty();
            scope = scope.join(self.table_with_joins(item, first)?);
        }
        self.visible = outer;
        Ok(scope)
    }

    /// `first`: no table stands before it.
    fn table_with_joins(&mut self, item: &mut TableWithJoins, first: bool) -> Result<FromScope, SqlError> {
        self.array_of_table(&mut item.relation);
        let mut scope = self.factor(&mut item.relation, first)?;
        self.visible.extend(scope.star.iter().cloned());
        for join in &mut item.joins {
            self.array_of_table(&mut join.relation);
            if matches!(join.relation, TableFactor::UNNEST { .. }) {
                always(&mut join.join_operator);
            }
            let right = self.factor(&mut join.relation, false)?;
            self.visible.extend(right.star.iter().cloned());
            scope = self.join(join, scope, right)?;
        }
        Ok(scope)
    }

    fn join(&mut self, join: &mut Join, left: FromScope, right: FromScope) -> Result<FromScope, SqlError> {
        use JoinOperator as J;
        let kind = match &join.join_operator {
            J::Join(_) | J::Inner(_) | J::Left(_) | J::LeftOuter(_) | J::CrossJoin(_) => Preserved::Left,
            J::Right(_) | J::RightOuter(_) => Preserved::Right,
            J::FullOuter(_) => Preserved::Both,
            other => return Err(SqlError::unsupported(format!("{other:?} is not a GoogleSQL join"))),
        };
        let constraint = match &mut join.join_operator {
            J::Join(constraint)
            | J::Inner(constraint)
            | J::Left(constraint)
            | J::LeftOuter(constraint)
            | J::CrossJoin(constraint)
            | J::Right(constraint)
            | J::RightOuter(constraint)
            | J::FullOuter(constraint) => constraint,
            _ => return Ok(left.join(right)),
        };
        match constraint {
            JoinConstraint::On(condition) => {
                self.expr(condition)?;
                Ok(left.join(right))
            }
            JoinConstraint::Using(names) => using(names, left, right, kind),
            JoinConstraint::Natural => {
                Err(SqlError::invalid("NATURAL JOIN is not GoogleSQL").hint("write JOIN ... USING (columns)"))
            }
            JoinConstraint::None => Ok(left.join(right)),
        }
    }

    fn factor(&mut self, factor: &mut TableFactor, first: bool) -> Result<FromScope, SqlError> {
        match factor {
            TableFactor::Table { name, alias, args, version, sample, with_hints, .. } => {
                if args.is_some() {
                    return Err(SqlError::unsupported(format!("table function {name} is not supported"))
                        .hint("query a table or a view"));
                }
                if version.is_some() {
                    return Err(SqlError::unsupported("FOR SYSTEM_TIME AS OF is not supported"));
                }
                if sample.is_some() || !with_hints.is_empty() {
                    return Err(SqlError::unsupported("TABLESAMPLE and table hints are not supported"));
                }
                self.table(name, alias)
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                if *lateral || sample.is_some() {
                    return Err(SqlError::unsupported("LATERAL and TABLESAMPLE are not supported"));
                }
                let columns = self.query(subquery)?;
                self.aliased(alias, None, columns)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.table_with_joins(table_with_joins, first)
            }
            TableFactor::UNNEST { .. } => self.unnest(factor, first),
            TableFactor::Pivot { .. } => Err(SqlError::unsupported("PIVOT is not supported")),
            TableFactor::Unpivot { .. } => Err(SqlError::unsupported("UNPIVOT is not supported")),
            other => Err(SqlError::unsupported(format!("{other} in FROM is not supported"))),
        }
    }

    fn table(
        &mut self,
        name: &mut ObjectName,
        alias: &mut Option<TableAlias>,
    ) -> Result<FromScope, SqlError> {
        let path = path_of(name)?;
        if let [single] = path.as_slice() {
            let lower = single.to_lowercase();
            let cte = self.ctes.iter().rev().find_map(|scope| scope.get(&lower)).cloned();
            if let Some(cte) = cte {
                *name = ObjectName(vec![ObjectNamePart::Identifier(plain(&cte.inside))]);
                return self.aliased(alias, Some(lower), cte.columns);
            }
        }
        let found = self.tables.find(&path).map_err(|error| self.or_cte(error, &path))?;
        let short = found.name.to_lowercase();
        *name = ObjectName(vec![
            ObjectNamePart::Identifier(plain(&found.dataset)),
            ObjectNamePart::Identifier(plain(&found.name)),
        ]);
        self.aliased(alias, Some(short), found.columns)
    }

    /// A name from WITH may be nearer to a mistyped one than any table's.
    fn or_cte(&self, error: SqlError, path: &[String]) -> SqlError {
        let ctes = self.ctes.iter().flat_map(|scope| scope.keys()).map(String::as_str);
        match path {
            [single] => error.maybe_hint(nearest(single, ctes).map(|name| format!("did you mean {name}?"))),
            _ => error,
        }
    }

    /// Gives a table its name in this query: the alias, its own name, or one made up.
    fn aliased(
        &mut self,
        alias: &mut Option<TableAlias>,
        own_name: Option<String>,
        mut columns: Columns,
    ) -> Result<FromScope, SqlError> {
        let name = match alias {
            Some(alias) => {
                let name = alias.name.value.to_lowercase();
                alias.name = plain(&name);
                if !alias.columns.is_empty() {
                    columns = renamed(&columns, &mut alias.columns)?;
                }
                name
            }
            None => {
                let name = own_name.unwrap_or_else(|| {
                    self.aliases_made += 1;
                    format!("_q{}", self.aliases_made)
                });
                *alias = Some(table_alias(&name, Vec::new()));
                name
            }
        };
        let star = columns
            .iter()
            .map(|column| StarColumn {
                expr: qualified(&name, &column.inside()),
                table: name.clone(),
                name: column.name.clone(),
                hidden: column.hidden,
                fields: column.fields.clone(),
                is_field: false,
                is_element: false,
            })
            .collect();
        Ok(FromScope { star, tables: vec![name] })
    }
}

/// Which side of a join keeps its rows when the other has none.
#[derive(Debug, Clone, Copy)]
enum Preserved {
    Left,
    Right,
    Both,
}

/// `*` over JOIN ... USING: each named column once and first.
fn using(
    names: &mut [ObjectName],
    left: FromScope,
    right: FromScope,
    kind: Preserved,
) -> Result<FromScope, SqlError> {
    let mut merged = Vec::new();
    let mut lowered = Vec::new();
    for name in names {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return Err(SqlError::invalid(format!("USING takes column names, not {name}")));
        };
        let lower = ident.value.to_lowercase();
        let find = |scope: &FromScope, side: &str| {
            scope.star.iter().find(|column| column.name.to_lowercase() == lower).cloned().ok_or_else(|| {
                SqlError::invalid(format!("USING: column {lower} is not in the table on the {side}"))
            })
        };
        let (of_left, of_right) = (find(&left, "left")?, find(&right, "right")?);
        merged.push(match kind {
            Preserved::Left => of_left,
            Preserved::Right => of_right,
            Preserved::Both => {
                StarColumn { expr: call("coalesce", vec![of_left.expr.clone(), of_right.expr]), ..of_left }
            }
        });
        *name = ObjectName(vec![ObjectNamePart::Identifier(plain(&lower))]);
        lowered.push(lower);
    }
    let mut scope = left.join(right);
    scope.star.retain(|column| !lowered.contains(&column.name.to_lowercase()));
    merged.append(&mut scope.star);
    Ok(FromScope { star: merged, ..scope })
}

pub(super) fn qualified(table: &str, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![plain(table), plain(&column.to_lowercase())])
}

pub(super) fn table_alias(name: &str, columns: Vec<TableAliasColumnDef>) -> TableAlias {
    TableAlias { explicit: true, name: plain(name), columns, at: None }
}

/// The parts of a table's name; back-ticks may hold one part or the whole path.
fn path_of(name: &ObjectName) -> Result<Vec<String>, SqlError> {
    let mut path = Vec::new();
    for part in &name.0 {
        let ident =
            part.as_ident().ok_or_else(|| SqlError::invalid(format!("{name} is not a table name")))?;
        // A dotted path in one pair of back-ticks; a dot is never part of a name.
        path.extend(ident.value.split('.').map(str::to_owned));
    }
    if path.iter().any(String::is_empty) {
        return Err(SqlError::invalid(format!("{name} is not a table name")));
    }
    Ok(path)
}
