//! What a prepared statement is told to take and to give, and the types of its parameters that it does not
//! tell by itself.

use std::collections::BTreeMap;

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{DataType, Statement};
use pgwire::api::Type;
use pgwire::error::PgWireResult;

use crate::errors::{from_sql, user};
use crate::parameters::{is_known, parameters_of};
use crate::prepared::Prepared;
use crate::service::Service;
use crate::typed::{as_items, cast_parameters, lists, sql_type};

impl Service {
    /// Plans a statement to be prepared; `told` are the types that its client told. What a parameter is
    /// compared with, or cast to, goes before what the client told: the value is converted then, not the column.
    pub(crate) async fn described(
        &self,
        statement: Statement,
        prepared: &mut Prepared,
        told: &[Option<Type>],
    ) -> PgWireResult<LogicalPlan> {
        let told: BTreeMap<usize, DataType> = told
            .iter()
            .enumerate()
            .filter_map(|(index, told)| Some((index, told_type(told.as_ref()?)?)))
            .collect();
        let casts = self.list_types(&statement, prepared, &told).await?;
        let planned = self.with_types(&statement, prepared, casts.clone()).await;
        let plan = match planned {
            Ok(plan) => plan,
            // Some functions cannot do without.
            Err(_) if !told.is_empty() && casts != told => {
                let all = told.iter().map(|(index, told)| (*index, told.clone())).chain(casts).collect();
                self.with_types(&statement, prepared, all).await?
            }
            Err(failure) => return Err(failure),
        };
        prepared.parameters = parameters_of(&plan).map_err(user)?;
        let unknown = |index: &usize| {
            prepared.parameters.get(*index).is_some_and(|parameter| parameter.plan_type.is_none())
        };
        let more: BTreeMap<_, _> = told
            .into_iter()
            .filter(|(index, _)| unknown(index) && !prepared.casts.contains_key(index))
            .collect();
        if more.is_empty() {
            return Ok(plan);
        }
        let all = more.into_iter().chain(prepared.casts.clone()).collect();
        let plan = self.with_types(&statement, prepared, all).await?;
        prepared.parameters = parameters_of(&plan).map_err(user)?;
        Ok(plan)
    }

    /// The types of parameters that are lists: as told, or of what is looked for in them.
    async fn list_types(
        &self,
        statement: &Statement,
        prepared: &mut Prepared,
        told: &BTreeMap<usize, DataType>,
    ) -> PgWireResult<BTreeMap<usize, DataType>> {
        let lists = lists(statement);
        let known = |index: &usize| told.get(index).filter(|told| matches!(told, DataType::Array(_)));
        let mut types: BTreeMap<_, _> =
            lists.iter().filter_map(|index| Some((*index, known(index)?.clone()))).collect();
        if types.len() == lists.len() {
            return Ok(types);
        }
        let mut items = statement.clone();
        as_items(&mut items);
        let plan = self.with_types(&items, prepared, BTreeMap::new()).await?;
        let parameters = parameters_of(&plan).map_err(user)?;
        for index in lists {
            let item = parameters.get(index).map_or(&Type::TEXT, |parameter| &parameter.wire_type);
            if let Some(list) = sql_list(item) {
                types.entry(index).or_insert(list);
            }
        }
        Ok(types)
    }

    async fn with_types(
        &self,
        statement: &Statement,
        prepared: &mut Prepared,
        casts: BTreeMap<usize, DataType>,
    ) -> PgWireResult<LogicalPlan> {
        let mut typed = statement.clone();
        cast_parameters(&mut typed, &casts);
        prepared.casts = casts;
        let planned = self.session().plan(typed, &prepared.sql).await;
        planned.map_err(|failure| user(from_sql(&failure, Some(&prepared.sql))))
    }
}

fn told_type(told: &Type) -> Option<DataType> {
    is_known(told).then(|| sql_type(told)).flatten()
}

fn sql_list(item: &Type) -> Option<DataType> {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket;
    Some(DataType::Array(SquareBracket(Box::new(sql_type(item)?), None)))
}
